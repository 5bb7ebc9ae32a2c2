//! Choosing a server for a tenant (DBS-22), and what a decision on growth looks at (DBS-24).

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::read::find;
use super::row::Row;
use crate::domain::growth::Supply;
use crate::domain::names::ExternalId;
use crate::domain::server::Server;

/// Locks the shared pool that shall take the next tenant (DBS-22). First without waiting, so that parallel
/// requests spread; when every candidate is locked, waiting for them, because a locked pool is not a full
/// one.
pub async fn lock_with_room(connection: &mut PgConnection) -> sqlx::Result<Option<Server>> {
    let free = sqlx::query_scalar!(
        "SELECT id FROM db_servers
         WHERE server_type = 'shared' AND status = 'active' AND current_instances < max_instances AND allocation_strategy = 'automatic'
           AND (health_status = 'healthy' OR (health_status = 'unknown' AND provisioned_at > now() - interval '10 minutes'))
         ORDER BY priority, current_instances::float8 / max_instances, created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(&mut *connection)
    .await?;
    let id = match free {
        Some(id) => Some(id),
        None => {
            sqlx::query_scalar!(
                "SELECT id FROM db_servers
                 WHERE server_type = 'shared' AND status = 'active' AND current_instances < max_instances AND allocation_strategy = 'automatic'
                   AND (health_status = 'healthy' OR (health_status = 'unknown' AND provisioned_at > now() - interval '10 minutes'))
                 ORDER BY priority, current_instances::float8 / max_instances, created_at, id LIMIT 1 FOR UPDATE"
            )
            .fetch_optional(&mut *connection)
            .await?
        }
    };
    match id {
        Some(id) => find(connection, id).await,
        None => Ok(None),
    }
}

/// The dedicated server of a tenant, whatever its state, locked. Not one that it shall leave.
pub async fn lock_dedicated(
    connection: &mut PgConnection,
    instance: &ExternalId,
) -> sqlx::Result<Option<Server>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE instance_id = $1 AND server_type = 'dedicated' AND status <> 'deprovisioned' AND NOT retiring FOR UPDATE",
        instance.as_str()
    )
    .fetch_optional(connection)
    .await?;
    row.map(Server::try_from).transpose()
}

/// Instances whose dedicated server was ordered before `before`, holds nothing, and is wanted by nobody: no
/// request waits for it, and no move leads there. All of them, or `only` this one.
pub async fn forgotten_dedicated(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    only: Option<&ExternalId>,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        r#"SELECT instance_id AS "instance_id!" FROM db_servers s
           WHERE server_type = 'dedicated' AND NOT retiring AND status IN ('provisioning', 'initializing', 'active', 'error') AND current_instances = 0
             AND created_at < $1 AND instance_id IS NOT NULL AND ($2::text IS NULL OR instance_id = $2)
             AND NOT EXISTS (SELECT FROM waiting w WHERE w.instance_id = s.instance_id)
             AND NOT EXISTS (SELECT FROM allocations a WHERE a.db_server_id = s.id AND a.state <> 'purged')
             AND NOT EXISTS (SELECT FROM moves m WHERE s.id IN (m.source_server_id, m.target_server_id) AND m.state NOT IN ('aborted', 'dropped'))
           ORDER BY created_at LIMIT 50"#,
        before,
        only.map(ExternalId::as_str)
    )
    .fetch_all(connection)
    .await
}

/// What is there, what is coming, who waits, without what `except` has. Pools that fail their checks for good
/// do not count; those that stumble do.
pub async fn supply(connection: &mut PgConnection, except: Option<Uuid>) -> sqlx::Result<Supply> {
    let row = sqlx::query!(
        r#"SELECT
             coalesce(sum(max_instances - current_instances) FILTER (WHERE status = 'active' AND health_status <> 'unhealthy'
                 AND allocation_strategy = 'automatic'), 0)::bigint AS "free!",
             coalesce(sum(max_instances) FILTER (WHERE status IN ('provisioning', 'initializing')), 0)::bigint AS "coming!",
             count(*) FILTER (WHERE status IN ('active', 'full')) AS "serving!",
             (SELECT count(*) FROM waiting WHERE server_type = 'shared') AS "waiting!"
           FROM db_servers WHERE server_type = 'shared' AND id IS DISTINCT FROM $1"#,
        except
    )
    .fetch_one(connection)
    .await?;
    Ok(Supply { free: row.free, coming: row.coming, waiting: row.waiting, serving: row.serving })
}

/// Shared pools in the making that are not booked out yet, locked.
pub async fn lock_open_in_the_making(connection: &mut PgConnection) -> sqlx::Result<Vec<Server>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE server_type = 'shared' AND status IN ('provisioning', 'initializing') AND NOT booked_out FOR UPDATE"
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(Server::try_from).collect()
}

/// One decision on growth at a time, over all replicas, until the end of the transaction.
pub async fn lock_growth(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('database-service.growth', 0))::text")
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// When the youngest shared pool that never came up was given up, if it still is.
pub async fn last_failed_order(connection: &mut PgConnection) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        "SELECT max(status_since) FROM db_servers WHERE server_type = 'shared' AND status = 'error' AND provisioned_at IS NULL"
    )
    .fetch_one(connection)
    .await
}
