//! All SQL of billing, one file for each thing that it keeps.

pub mod audit;
pub mod audits;
pub mod checks;
pub mod clock;
pub mod coupons;
pub mod credits;
pub mod customers;
pub mod erasure;
pub mod findings;
pub mod invoices;
pub mod journal;
pub mod mirror;
pub mod orders;
pub mod payments;
pub mod plans;
pub mod polls;
pub mod provider_calls;
pub mod refunds;
pub mod retention;
pub mod settlements;
pub mod subscriptions;
pub mod tasks;
pub mod tax_rates;
pub mod unreadable;
pub mod webhooks;

pub(crate) use self::unreadable::{read_or_none, readable};

/// All reads of a transaction that has just begun see the same moment.
pub async fn read_one_moment(connection: &mut sqlx::PgConnection) -> sqlx::Result<()> {
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(connection)
        .await
        .map(drop)
}

/// A row that breaks a rule which the CHECKs should hold.
pub(crate) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}

/// A number that the CHECKs keep in range.
pub(crate) fn number<To, From>(value: From) -> sqlx::Result<To>
where
    To: TryFrom<From>,
    To::Error: std::error::Error + Send + Sync + 'static,
{
    To::try_from(value).map_err(corrupt)
}
