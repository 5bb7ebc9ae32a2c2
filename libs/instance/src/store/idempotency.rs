//! Answers of creates that carried an `Idempotency-Key` (INS-12). A key is good for 24 hours per customer.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Life of a key.
pub const LIFE: Duration = Duration::hours(24);

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Hash of the request that came with it first.
    pub request_hash: Vec<u8>,
    /// The instance that was made.
    pub instance_id: Uuid,
}

/// Looks a key up; one that has ended is unknown.
pub async fn find(
    connection: &mut PgConnection,
    customer: Uuid,
    key: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Remembered>> {
    sqlx::query_as!(
        Remembered,
        "SELECT request_hash, instance_id FROM idempotency_keys WHERE customer_id = $1 AND key = $2 AND expires_at > $3",
        customer,
        key,
        now,
    )
    .fetch_optional(connection)
    .await
}

/// Remembers a key; an ended one is overwritten. The caller holds the customer's lock.
pub async fn remember(
    connection: &mut PgConnection,
    customer: Uuid,
    key: &str,
    remembered: &Remembered,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"INSERT INTO idempotency_keys (customer_id, key, request_hash, instance_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (customer_id, key) DO UPDATE SET request_hash = excluded.request_hash, instance_id = excluded.instance_id,
               created_at = excluded.created_at, expires_at = excluded.expires_at"#,
        customer,
        key,
        remembered.request_hash,
        remembered.instance_id,
        now,
        now + LIFE,
    )
    .execute(connection)
    .await?;
    Ok(())
}
