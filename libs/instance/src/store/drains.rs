//! Table `drains`: pools that are being emptied (DBS-33).

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    /// Id; operations carry it.
    pub id: Uuid,
    /// Which pool.
    pub pool_id: Uuid,
    /// Onto servers of their own.
    pub dedicated: bool,
    /// Moves at a time.
    pub parallel: i32,
    /// open, done, stopped.
    pub state: String,
    /// Why.
    pub reason: String,
    /// User id or service name.
    pub requested_by: String,
    /// `X-Request-Id` of the wish.
    pub request_id: String,
    /// Since when.
    pub created_at: OffsetDateTime,
}

/// How far it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Moves that ended well.
    pub moved: i64,
    /// Operations that go on.
    pub moving: Vec<Uuid>,
    /// Live tenants that are still there.
    pub remaining: i64,
    /// Terminated ones whose databases are kept there.
    pub kept: i64,
    /// Remaining ones whose last try failed, and why.
    pub failed: Vec<(Uuid, String)>,
}

/// Begins a drain, unless one is open. Tells whether it began.
pub async fn insert(connection: &mut PgConnection, new: &Drain) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO drains (id, pool_id, dedicated, parallel, reason, requested_by, request_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (pool_id) WHERE state = 'open' DO NOTHING",
        new.id,
        new.pool_id,
        new.dedicated,
        new.parallel,
        new.reason,
        new.requested_by,
        new.request_id,
        new.created_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The youngest drain of a pool.
pub async fn latest(connection: &mut PgConnection, pool: Uuid) -> sqlx::Result<Option<Drain>> {
    sqlx::query_as!(
        Drain,
        "SELECT id, pool_id, dedicated, parallel, state, reason, requested_by, request_id, created_at
         FROM drains WHERE pool_id = $1 ORDER BY created_at DESC LIMIT 1",
        pool
    )
    .fetch_optional(connection)
    .await
}

/// Ids of the open ones.
pub async fn open(connection: &mut PgConnection) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!("SELECT id FROM drains WHERE state = 'open' ORDER BY created_at")
        .fetch_all(connection)
        .await
}

/// An open one, locked; `None` when it has ended, or when another replica works on it.
pub async fn lock_open(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Drain>> {
    sqlx::query_as!(
        Drain,
        "SELECT id, pool_id, dedicated, parallel, state, reason, requested_by, request_id, created_at
         FROM drains WHERE id = $1 AND state = 'open' FOR UPDATE SKIP LOCKED",
        id
    )
    .fetch_optional(connection)
    .await
}

/// Ends an open one.
pub async fn end(
    connection: &mut PgConnection,
    id: Uuid,
    state: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE drains SET state = $2, ended_at = $3 WHERE id = $1 AND state = 'open'",
        id,
        state,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Tenants that may be moved now: live, with nothing else going on, and whose last try for this drain did not
/// fail since `failed_since`.
pub async fn movable(
    connection: &mut PgConnection,
    drain: &Drain,
    failed_since: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT i.id FROM instances i
         WHERE i.db_server_id = $1 AND i.status NOT IN ('terminating', 'terminated', 'purged')
           AND NOT EXISTS (SELECT FROM operations o WHERE o.instance_id = i.id AND o.state IN ('queued', 'running'))
           AND NOT EXISTS (SELECT FROM operations o WHERE o.instance_id = i.id AND o.parameters ->> 'drain' = $2::text
                           AND o.state IN ('failed', 'cancelled') AND o.finished_at > $3)
         ORDER BY i.created_at, i.id LIMIT $4",
        drain.pool_id,
        drain.id.to_string(),
        failed_since,
        limit
    )
    .fetch_all(connection)
    .await
}

/// How far it is.
pub async fn progress(connection: &mut PgConnection, drain: &Drain) -> sqlx::Result<Progress> {
    let id = drain.id.to_string();
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM operations WHERE parameters ->> 'drain' = $2::text AND state = 'succeeded') AS "moved!",
               (SELECT coalesce(array_agg(id ORDER BY created_at), '{}') FROM operations
                WHERE parameters ->> 'drain' = $2::text AND state IN ('queued', 'running')) AS "moving!",
               (SELECT count(*) FROM instances WHERE db_server_id = $1 AND status NOT IN ('terminating', 'terminated', 'purged')) AS "remaining!",
               (SELECT count(*) FROM instances WHERE db_server_id = $1 AND status IN ('terminating', 'terminated')) AS "kept!""#,
        drain.pool_id,
        id
    )
    .fetch_one(&mut *connection)
    .await?;
    let failed = sqlx::query!(
        r#"SELECT DISTINCT ON (i.id) i.id, o.state AS "state!", coalesce(o.error_reason, o.state) AS "reason!"
           FROM instances i JOIN operations o ON o.instance_id = i.id AND o.parameters ->> 'drain' = $2::text
           WHERE i.db_server_id = $1 AND i.status NOT IN ('terminating', 'terminated', 'purged')
           ORDER BY i.id, o.created_at DESC"#,
        drain.pool_id,
        id
    )
    .fetch_all(connection)
    .await?;
    let failed = failed.into_iter().filter(|row| matches!(row.state.as_str(), "failed" | "cancelled"));
    Ok(Progress {
        moved: row.moved,
        moving: row.moving,
        remaining: row.remaining,
        kept: row.kept,
        failed: failed.map(|row| (row.id, row.reason)).collect(),
    })
}
