//! All SQL on the service's own database. Functions take a connection, so that a use case decides what is one transaction.

pub mod allocations;
pub mod audit;
pub mod contact;
pub mod moves;
pub mod rekey;
pub mod rotations;
pub mod secrets;
pub mod servers;
pub mod stats;
pub mod tasks;
pub mod waiting;

/// A word in a row that no enum knows: the CHECK constraint should have refused it.
fn decode(error: crate::domain::UnknownWord) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
