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

/// Writes one that the provider has made; the payment follows the provider's count.
#[expect(clippy::too_many_arguments, reason = "the columns of a row that is written in one place")]
pub async fn note(
    connection: &mut PgConnection,
    id: Uuid,
    payment: Uuid,
    amount: Money,
    reason: &str,
    actor: &str,
    key: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO refunds (id, payment_id, amount_minor, currency, reason, actor, key, created_at) VALUES ($1, $2, $3::bigint, $4, $5, $6, $7, $8)
         ON CONFLICT DO NOTHING",
        id,
        payment,
        amount.minor(),
        amount.currency().to_string(),
        reason,
        actor,
        key,
        now,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Writes it and counts it at its payment, which must be locked; all given back: the payment is refunded.
#[expect(clippy::too_many_arguments, reason = "the columns of a row that is written in one place")]
pub async fn insert(
    connection: &mut PgConnection,
    id: Uuid,
    payment: Uuid,
    amount: Money,
    reason: &str,
    actor: &str,
    key: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO refunds (id, payment_id, amount_minor, currency, reason, actor, key, created_at) VALUES ($1, $2, $3::bigint, $4, $5, $6, $7, $8)",
        id,
        payment,
        amount.minor(),
        amount.currency().to_string(),
        reason,
        actor,
        key,
        now,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "UPDATE payments SET refunded_minor = refunded_minor + $2::bigint, updated_at = $3,
                state = CASE WHEN refunded_minor + $2::bigint = amount_minor THEN 'refunded' ELSE state END
         WHERE id = $1",
        payment,
        amount.minor(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
