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

/// Those that wait, oldest first.
pub async fn queued(db: impl PgExecutor<'_>, limit: i64) -> sqlx::Result<Vec<Task>> {
    sqlx::query_as!(
        Task,
        "SELECT id, kind, customer_id FROM tasks WHERE state = 'queued' ORDER BY created_at LIMIT $1",
        limit
    )
    .fetch_all(db)
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
