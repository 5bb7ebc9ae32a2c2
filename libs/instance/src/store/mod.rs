//! All SQL of database `instance`. Functions take a connection, so that a use case is one transaction; none
//! of them commits.

pub mod audit;
pub mod claims;
pub mod closed;
pub mod consents;
pub mod drains;
pub mod erasure;
pub mod events;
pub mod idempotency;
pub mod instances;
pub mod lease;
pub mod lives;
pub mod monitoring;
pub mod news;
pub mod observe;
pub mod operations;
pub mod reports;
pub mod servers;
pub mod steering;
pub mod wishes;

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Whose rows a reader may see; part of every WHERE (SEC-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Rows of one customer.
    Owner(Uuid),
    /// All rows: operators and services.
    All,
}

impl Scope {
    /// The bind: a customer, or NULL for all.
    pub fn customer(self) -> Option<Uuid> {
        match self {
            Self::Owner(customer) => Some(customer),
            Self::All => None,
        }
    }
}

/// The moment of the transaction, by the clock that all replicas share: what a row says of time is written
/// and compared by no process's own clock.
pub async fn now(connection: &mut PgConnection) -> sqlx::Result<OffsetDateTime> {
    sqlx::query_scalar!(r#"SELECT now() AS "now!""#).fetch_one(connection).await
}

/// Rows that lists have left out since the process began.
static UNREADABLE: AtomicU64 = AtomicU64::new(0);

/// How many rows lists have left out since the process began, for its metrics.
pub fn unreadable() -> u64 {
    UNREADABLE.load(Ordering::Relaxed)
}

/// The rows of a list that this release understands. Another release may have written what it does not: such
/// a row is named in the log and left out, so that it hinders no other one.
fn readable<R, T: TryFrom<R, Error = sqlx::Error>>(rows: Vec<R>) -> Vec<T> {
    let read = |row| match T::try_from(row) {
        Ok(value) => Some(value),
        Err(error) => {
            UNREADABLE.fetch_add(1, Ordering::Relaxed);
            tracing::error!(error = %error, "a row that this release does not understand is left out");
            None
        }
    };
    rows.into_iter().filter_map(read).collect()
}

/// A row that the domain does not understand.
#[derive(Debug, thiserror::Error)]
#[error("{table} {row}: column {column}: {cause}")]
struct Inconsistent {
    table: &'static str,
    column: &'static str,
    row: Uuid,
    cause: String,
}

/// Reads a word of an enum from a column.
fn word<T: FromStr>(table: &'static str, column: &'static str, row: Uuid, text: &str) -> sqlx::Result<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| inconsistent(table, column, row, &error))
}

fn inconsistent(
    table: &'static str,
    column: &'static str,
    row: Uuid,
    cause: &dyn std::fmt::Display,
) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(Inconsistent { table, column, row, cause: cause.to_string() }))
}

/// JSON for a column.
fn json<T: serde::Serialize>(value: &T) -> sqlx::Result<serde_json::Value> {
    serde_json::to_value(value).map_err(|error| sqlx::Error::Encode(error.into()))
}
