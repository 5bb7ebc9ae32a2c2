//! Sums over all servers (DBS-06). Servers that are gone do not count.

use sqlx::PgConnection;
use time::OffsetDateTime;

/// Numbers of one kind of server in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Word of the type.
    pub server_type: String,
    /// Word of the state.
    pub status: String,
    /// Word of the health.
    pub health: String,
    /// How many.
    pub servers: i64,
    /// Their slots.
    pub capacity: i64,
    /// Slots taken.
    pub used: i64,
    /// Bytes.
    pub storage_used: i64,
}

/// All groups.
pub async fn groups(connection: &mut PgConnection) -> sqlx::Result<Vec<Group>> {
    sqlx::query_as!(
        Group,
        r#"SELECT server_type, status, health_status AS health, count(*) AS "servers!", sum(max_instances)::bigint AS "capacity!",
               sum(current_instances)::bigint AS "used!", sum(storage_used)::bigint AS "storage_used!"
           FROM db_servers WHERE status <> 'deprovisioned' GROUP BY server_type, status, health_status ORDER BY 1, 2, 3"#
    )
    .fetch_all(connection)
    .await
}

/// Requests that have no database yet: without a slot, or with one that is being filled.
pub async fn pending(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT (SELECT count(*) FROM waiting) + (SELECT count(*) FROM allocations WHERE state = 'allocating') AS "pending!""#
    )
    .fetch_one(connection)
    .await
}

/// Movement of slots on shared servers since `since`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movement {
    /// Taken.
    pub taken: i64,
    /// Given back.
    pub given_back: i64,
    /// Free now.
    pub free: i64,
    /// When the oldest shared server was ordered.
    pub oldest: Option<OffsetDateTime>,
}

/// What the forecast looks at.
pub async fn movement(connection: &mut PgConnection, since: OffsetDateTime) -> sqlx::Result<Movement> {
    sqlx::query_as!(
        Movement,
        r#"SELECT
             (SELECT count(*) FROM allocations a JOIN db_servers s ON s.id = a.db_server_id
                 WHERE s.server_type = 'shared' AND a.created_at >= $1) AS "taken!",
             (SELECT count(*) FROM allocations a JOIN db_servers s ON s.id = a.db_server_id
                 WHERE s.server_type = 'shared' AND a.state = 'purged' AND a.purged_at >= $1) AS "given_back!",
             (SELECT coalesce(sum(max_instances - current_instances), 0)::bigint FROM db_servers
                 WHERE server_type = 'shared' AND status IN ('active', 'full') AND health_status <> 'unhealthy') AS "free!",
             (SELECT min(created_at) FROM db_servers WHERE server_type = 'shared') AS oldest"#,
        since
    )
    .fetch_one(connection)
    .await
}
