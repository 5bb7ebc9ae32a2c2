//! Table `tasks`: work that an administrator or the schedule began, and what came of it (DBS-21).

use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::decode;
use crate::domain::task::Task;
use crate::domain::{TaskKind, TaskState};

struct Row {
    id: Uuid,
    kind: String,
    state: String,
    requested_by: String,
    db_server_id: Option<Uuid>,
    input: Value,
    result: Option<Value>,
    error: String,
    created_at: OffsetDateTime,
    started_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Task {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id,
            kind: row.kind,
            state: row.state.parse().map_err(decode)?,
            requested_by: row.requested_by,
            db_server_id: row.db_server_id,
            input: row.input,
            result: row.result,
            error: row.error,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// A task to add.
#[derive(Debug, Clone)]
pub struct New<'a> {
    /// What it does.
    pub kind: TaskKind,
    /// Work that begins by itself is `running` at once.
    pub state: TaskState,
    /// `schedule`, or who asked.
    pub by: &'a str,
    /// `Idempotency-Key`.
    pub key: Option<&'a str>,
    /// The server that it is about.
    pub server: Option<Uuid>,
    /// What it was asked for.
    pub input: Value,
}

/// Adds a task.
pub async fn insert(connection: &mut PgConnection, new: &New<'_>, now: OffsetDateTime) -> sqlx::Result<Uuid> {
    let id = Uuid::now_v7();
    let started = (new.state == TaskState::Running).then_some(now);
    sqlx::query!(
        "INSERT INTO tasks (id, kind, state, requested_by, request_key, db_server_id, input, created_at, started_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        id,
        new.kind.as_str(),
        new.state.as_str(),
        new.by,
        new.key,
        new.server,
        new.input,
        now,
        started,
    )
    .execute(connection)
    .await?;
    Ok(id)
}

/// Adds a task whose id is that of an operation; a repeat adds nothing.
pub async fn insert_known(
    connection: &mut PgConnection,
    id: Uuid,
    new: &New<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO tasks (id, kind, state, requested_by, db_server_id, input, created_at, started_at)
         VALUES ($1, $2, 'running', $3, $4, $5, $6, $6) ON CONFLICT (id) DO NOTHING",
        id,
        new.kind.as_str(),
        new.by,
        new.server,
        new.input,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends tasks of a kind that run since before `before` and that no rotation stands behind.
pub async fn fail_orphans(
    connection: &mut PgConnection,
    kind: TaskKind,
    before: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "UPDATE tasks SET state = 'failed', error = 'its operation ended before it began', finished_at = $3
         WHERE kind = $1 AND state IN ('queued', 'running') AND created_at < $2
           AND NOT EXISTS (SELECT FROM rotations r WHERE r.id = tasks.id AND r.state IN ('begun', 'ready', 'switched', 'aborting'))",
        kind.as_str(),
        before,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The rows of `tasks` that a condition names: the columns stand here once.
macro_rules! select_tasks {
    ($condition:literal, $($argument:expr),+) => {
        sqlx::query_as!(
            Row,
            "SELECT id, kind, state, requested_by, db_server_id, input, result, error, created_at, started_at,
                 finished_at
             FROM tasks WHERE " + $condition,
            $($argument),+
        )
    };
}

/// One task. A task that makes a server is as far as its server.
pub async fn find(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Task>> {
    let row = select_tasks!("id = $1", id).fetch_optional(connection).await?;
    row.map(Task::try_from).transpose()
}

/// The task of an earlier call with the same key of the same caller.
pub async fn find_by_key(connection: &mut PgConnection, by: &str, key: &str) -> sqlx::Result<Option<Task>> {
    let row =
        select_tasks!("requested_by = $1 AND request_key = $2", by, key).fetch_optional(connection).await?;
    row.map(Task::try_from).transpose()
}

/// The youngest task of a kind about a server.
pub async fn of_server(
    connection: &mut PgConnection,
    kind: TaskKind,
    server: Uuid,
) -> sqlx::Result<Option<Task>> {
    let row = select_tasks!(
        "db_server_id = $2 AND kind = $1 ORDER BY created_at DESC, id DESC LIMIT 1",
        kind.as_str(),
        server
    )
    .fetch_optional(connection)
    .await?;
    row.map(Task::try_from).transpose()
}

/// A page of the history, youngest first; an absent kind takes all.
pub async fn list(
    connection: &mut PgConnection,
    kind: Option<&str>,
    limit: i64,
    offset: i64,
) -> sqlx::Result<(Vec<Task>, i64)> {
    let rows = select_tasks!(
        "$1::text IS NULL OR kind = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
        kind,
        limit,
        offset
    )
    .fetch_all(&mut *connection)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM tasks WHERE $1::text IS NULL OR kind = $1"#,
        kind
    )
    .fetch_one(connection)
    .await?;
    let tasks: sqlx::Result<Vec<Task>> = rows.into_iter().map(Task::try_from).collect();
    Ok((tasks?, total))
}

/// Takes the oldest queued task of the leader's kinds, or one that a leader before left running.
pub async fn take(
    connection: &mut PgConnection,
    left_before: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Task>> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE tasks SET state = 'running', started_at = $2 WHERE id = (
             SELECT id FROM tasks WHERE kind IN ('health_check', 'cleanup', 'rotate_pool_password')
                 AND (state = 'queued' OR (state = 'running' AND started_at < $1))
             ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, kind, state, requested_by, db_server_id, input, result, error, created_at, started_at, finished_at",
        left_before,
        now
    )
    .fetch_optional(connection)
    .await?;
    row.map(Task::try_from).transpose()
}

/// Writes how it ended.
pub async fn finish(
    connection: &mut PgConnection,
    id: Uuid,
    outcome: Result<&Value, &str>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let (state, result, error) = match outcome {
        Ok(result) => (TaskState::Succeeded, Some(result), ""),
        Err(error) => (TaskState::Failed, None, error),
    };
    sqlx::query!(
        "UPDATE tasks SET state = $2, result = $3, error = $4, finished_at = $5 WHERE id = $1 AND state IN ('queued', 'running')",
        id,
        state.as_str(),
        result,
        error,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// When the youngest task of a kind was begun that looked at everything.
pub async fn last_started(
    connection: &mut PgConnection,
    kind: TaskKind,
) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!("SELECT max(created_at) FROM tasks WHERE kind = $1", kind.as_str())
        .fetch_one(connection)
        .await
}
