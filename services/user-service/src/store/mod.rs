//! All SQL. Functions take a connection, so that the use case decides about the transaction. Values are
//! bound; no statement is put together from text (SEC-05). What belongs to an account is found by the
//! account's id from the token (SEC-01).

pub mod audit;
pub mod closures;
pub mod mails;
pub mod outbox;
pub mod retention;
pub mod sessions;
pub mod users;

/// A count of PostgreSQL as unsigned; it is never negative.
fn unsigned(count: Option<i64>) -> u64 {
    count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}
