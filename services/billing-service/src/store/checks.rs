//! Subscriptions whose instance is to be looked at, in real time.

use sqlx::{PgConnection, PgExecutor};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// A look that is due, kept from the other replicas until `held_until`.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Whose instance.
    pub subscription_id: Uuid,
    /// Until then it is ours.
    pub held_until: OffsetDateTime,
}

/// Asks for a look at the instance of a subscription; the earlier of two wishes holds. Unknown subscriptions
/// have none.
pub async fn request(db: impl PgExecutor<'_>, subscription: Uuid, at: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO instance_checks (subscription_id, due_at)
         SELECT subscription_id, $2 FROM orders WHERE subscription_id = $1
         ON CONFLICT (subscription_id) DO UPDATE SET due_at = least(instance_checks.due_at, excluded.due_at)",
        subscription,
        at,
    )
    .execute(db)
    .await
    .map(drop)
}

/// The same for the live order of an instance.
pub async fn request_of_instance(
    db: impl PgExecutor<'_>,
    instance: Uuid,
    at: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO instance_checks (subscription_id, due_at)
         SELECT subscription_id, $2 FROM orders WHERE instance_id = $1 AND state <> 'cancelled'
         ON CONFLICT (subscription_id) DO UPDATE SET due_at = least(instance_checks.due_at, excluded.due_at)",
        instance,
        at,
    )
    .execute(db)
    .await
    .map(drop)
}

/// Takes looks that are due, and keeps other replicas off them for `hold`.
pub async fn claim(
    db: impl PgExecutor<'_>,
    now: OffsetDateTime,
    hold: Duration,
    limit: i64,
) -> sqlx::Result<Vec<Check>> {
    sqlx::query_as!(
        Check,
        r#"UPDATE instance_checks SET due_at = $2 WHERE subscription_id IN (
               SELECT subscription_id FROM instance_checks WHERE due_at <= $1
               ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
           RETURNING subscription_id, due_at AS "held_until!""#,
        now,
        now + hold,
        limit,
    )
    .fetch_all(db)
    .await
}

/// The look was made; the next one is at `again`, if there is one. A hint that came meanwhile keeps its look.
pub async fn done(
    connection: &mut PgConnection,
    check: &Check,
    again: Option<OffsetDateTime>,
) -> sqlx::Result<()> {
    match again {
        Some(at) => sqlx::query!(
            "UPDATE instance_checks SET due_at = $3 WHERE subscription_id = $1 AND due_at = $2",
            check.subscription_id,
            check.held_until,
            at,
        )
        .execute(connection)
        .await
        .map(drop),
        None => sqlx::query!(
            "DELETE FROM instance_checks WHERE subscription_id = $1 AND due_at = $2",
            check.subscription_id,
            check.held_until,
        )
        .execute(connection)
        .await
        .map(drop),
    }
}
