//! All SQL on the service's own database. Functions take a connection, so that a use case decides what is one transaction.

pub mod allocations;
pub mod audit;
pub mod certificates;
pub mod contact;
pub mod moves;
pub mod rekey;
pub mod rotations;
pub mod secrets;
pub mod servers;
pub mod stats;
pub mod tasks;
pub mod waiting;

/// Begins a transaction that does not wait for the disk. For what is found again when the machine loses it, or what a later transaction of the same
/// call keeps with itself.
pub const QUICK: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// A word in a row that no enum knows: the CHECK constraint should have refused it.
fn decode(error: crate::domain::UnknownWord) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
