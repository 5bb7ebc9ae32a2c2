//! Work on demand.

use sqlx::PgExecutor;
use time::OffsetDateTime;
use uuid::Uuid;

/// A task that waits.
#[derive(Debug, Clone)]
pub struct Task {
    /// Row.
    pub id: Uuid,
    /// What.
    pub kind: String,
    /// For whom; none: for all.
    pub customer_id: Option<Uuid>,
}

/// Queues one.
pub async fn queue(
    db: impl PgExecutor<'_>,
    kind: &str,
    customer: Option<Uuid>,
    actor: &str,
) -> sqlx::Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query!(
        "INSERT INTO tasks (id, kind, customer_id, actor) VALUES ($1, $2, $3, $4)",
        id,
        kind,
        customer,
        actor
    )
    .execute(db)
    .await?;
    Ok(id)
}

/// Takes the oldest one that waits and that no other replica works on; a replica that dies loses it at
/// `until` (real time).
pub async fn claim(
    db: impl PgExecutor<'_>,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> sqlx::Result<Option<Task>> {
    sqlx::query_as!(
        Task,
        "UPDATE tasks SET held_until = $2 WHERE id = (
             SELECT id FROM tasks WHERE state = 'queued' AND (held_until IS NULL OR held_until <= $1)
             ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, customer_id",
        now,
        until,
    )
    .fetch_optional(db)
    .await
}

/// It ended.
pub async fn finish(
    db: impl PgExecutor<'_>,
    id: Uuid,
    state: &str,
    outcome: serde_json::Value,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE tasks SET state = $2, outcome = $3, finished_at = $4 WHERE id = $1",
        id,
        state,
        outcome,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
