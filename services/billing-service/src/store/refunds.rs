//! Money given back.

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::money::Money;

/// The refund that a key made, and how much it was.
pub async fn find_by_key(db: impl PgExecutor<'_>, key: &str) -> sqlx::Result<Option<(Uuid, i64)>> {
    let row =
        sqlx::query!(r#"SELECT id, amount_minor::bigint AS "amount!" FROM refunds WHERE key = $1"#, key)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|row| (row.id, row.amount)))
}

/// Money that goes back of a payment.
#[derive(Debug, Clone, Copy)]
pub struct NewRefund<'a> {
    /// Its id.
    pub id: Uuid,
    /// Of which payment.
    pub payment: Uuid,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: &'a str,
    /// Who wanted it.
    pub actor: &'a str,
    /// The same refund is written once.
    pub key: &'a str,
}

/// Writes one, without counting it: the payment of another keeper follows that keeper's count. `false`: it is
/// there already.
pub async fn note(
    connection: &mut PgConnection,
    new: &NewRefund<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO refunds (id, payment_id, amount_minor, currency, reason, actor, key, created_at) VALUES ($1, $2, $3::bigint, $4, $5, $6, $7, $8)
         ON CONFLICT DO NOTHING",
        new.id,
        new.payment,
        new.amount.minor(),
        new.amount.currency().to_string(),
        new.reason,
        new.actor,
        new.key,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes it and counts it, once, at its payment, which must be locked; all given back: the payment is
/// refunded.
pub async fn insert(
    connection: &mut PgConnection,
    new: &NewRefund<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    if !note(connection, new, now).await? {
        return Err(sqlx::Error::Protocol(format!("refund {} is there already", new.id)));
    }
    sqlx::query!(
        "UPDATE payments SET refunded_minor = refunded_minor + $2::bigint, updated_at = $3,
                state = CASE WHEN refunded_minor + $2::bigint = amount_minor THEN 'refunded' ELSE state END
         WHERE id = $1",
        new.payment,
        new.amount.minor(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
