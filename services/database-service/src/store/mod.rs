//! All SQL on the service's own database. Functions take a connection, so that a use case decides what is one
//! transaction.

pub mod allocations;
pub mod audit;
pub mod certificates;
pub mod contact;
pub mod moves;
pub mod rekey;
pub mod retention;
pub mod rotations;
pub mod secrets;
pub mod servers;
pub mod stats;
pub mod tasks;
pub mod waiting;

/// Begins a transaction that does not wait for the disk. For what is found again when the machine loses it,
/// or what a later transaction of the same call keeps with itself.
pub const QUICK: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// Begins the transaction that holds a tenant's lock during work at its server, which takes longer than the
/// statements of this database may be apart otherwise. The work has its own bounds.
pub const PATIENT: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '10min'";

/// Those rows of a sweep that this release can read. One that it cannot, written by another release or by
/// hand, keeps no other from being looked at.
fn readable<R, T>(what: &'static str, rows: Vec<R>, id: impl Fn(&R) -> uuid::Uuid) -> Vec<T>
where
    T: TryFrom<R, Error = sqlx::Error>,
{
    let read = rows.into_iter().filter_map(|row| {
        let id = id(&row);
        T::try_from(row)
            .inspect_err(
                |error| tracing::error!(row = %id, error = %error, "{what} cannot be read and is left alone"),
            )
            .ok()
    });
    read.collect()
}

/// A word in a row that no enum knows: the CHECK constraint should have refused it.
fn decode(error: crate::domain::UnknownWord) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
