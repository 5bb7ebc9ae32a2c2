//! Table `db_servers`. [`save`] is the only way to change a row: it counts the version up and announces the
//! change in the same transaction.

mod read;
mod row;
mod supply;

use contracts::events::topics::{POOL_CHANGED, POOL_REQUESTED};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use self::row::{Row, fact};
use crate::domain::names::{ExternalId, pool_name};
use crate::domain::pool::ServerType;
use crate::domain::server::{Resources, Server};

pub use read::{find, find_by_name, list, lock, managed, with_old_volumes};
pub use supply::{
    forgotten_dedicated, last_failed_order, lock_dedicated, lock_growth, lock_open_in_the_making,
    lock_with_room, supply,
};

/// Writes what may change, counts the version up, announces the new row. The caller holds the row's lock.
/// Gives the row as it is now: the trigger may have changed the number of tenants.
pub async fn save(connection: &mut PgConnection, server: &Server) -> sqlx::Result<Server> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE db_servers SET status = $2, health_status = $3, host = $4, port = $5, platform_host = $6, platform_port = $7,
             postgres_version = $8, observed = $9, node = $10, last_error = $11, health_check_failures = $12, last_health_check = $13,
             booked_out = $14, generation = $15, provisioned_at = $16, last_allocated_at = $17, status_since = $18,
             max_instances = $19, priority = $20, storage_used = $21, storage_free = $22, storage_total = $23, connections = $24,
             max_connections = $25, check_latency_ms = $26,
             version = version + 1, updated_at = now()
         WHERE id = $1 RETURNING *",
        server.id,
        server.status.as_str(),
        server.health.as_str(),
        server.host,
        server.port,
        server.platform_host,
        server.platform_port,
        server.postgres_version,
        server.observed.as_str(),
        server.node,
        server.last_error,
        server.failures,
        server.last_health_check,
        server.booked_out,
        server.generation,
        server.provisioned_at,
        server.last_allocated_at,
        server.status_since,
        server.fill.max,
        server.priority,
        server.measured.disk.used,
        server.measured.disk.free,
        server.measured.disk.total,
        server.measured.connections,
        server.measured.max_connections,
        server.measured.latency_ms,
    )
    .fetch_one(&mut *connection)
    .await?;
    let saved = Server::try_from(row)?;
    messaging::outbox::enqueue(&mut *connection, POOL_CHANGED, saved.id, &fact(&saved)).await?;
    Ok(saved)
}

/// Asks the worker to make (or remove) the objects of a server.
pub async fn request_objects(connection: &mut PgConnection, server: &Server) -> sqlx::Result<()> {
    messaging::outbox::enqueue(connection, POOL_REQUESTED, server.id, &fact(server)).await?;
    Ok(())
}

/// What an ordered server is made of.
#[derive(Debug, Clone)]
pub struct Order<'a> {
    /// Tenants at most.
    pub max_instances: i32,
    /// Image of the pod.
    pub image: &'a str,
    /// Requests and limits.
    pub resources: &'a Resources,
    /// The tenant of a dedicated server.
    pub instance: Option<&'a ExternalId>,
    /// `automatic`, or who ordered it.
    pub by: &'a str,
}

/// Adds a server in `provisioning` with the next number of its kind (DBS-26), and announces it. The secret is
/// the caller's to add.
pub async fn insert(
    connection: &mut PgConnection,
    order: &Order<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<Server> {
    let (server_type, number) = if order.instance.is_some() {
        let number = sqlx::query_scalar!(r#"SELECT nextval('dedicated_pool_number') AS "number!""#);
        (ServerType::Dedicated, number.fetch_one(&mut *connection).await?)
    } else {
        let number = sqlx::query_scalar!(r#"SELECT nextval('shared_pool_number') AS "number!""#);
        (ServerType::Shared, number.fetch_one(&mut *connection).await?)
    };
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO db_servers (id, name, server_type, status, max_instances, image, cpu_request, cpu_limit, memory_request, memory_limit,
             storage_size, instance_id, status_since, created_at, provisioned_by)
         VALUES ($1, $2, $3, 'provisioning', $4, $5, $6, $7, $8, $9, $10, $11, $12, $12, $13) RETURNING *",
        Uuid::now_v7(),
        pool_name(server_type, number),
        server_type.as_str(),
        order.max_instances,
        order.image,
        order.resources.cpu_request,
        order.resources.cpu_limit,
        order.resources.memory_request,
        order.resources.memory_limit,
        order.resources.storage,
        order.instance.map(ExternalId::as_str),
        now,
        order.by,
    )
    .fetch_one(&mut *connection)
    .await?;
    let server = Server::try_from(row)?;
    messaging::outbox::enqueue(&mut *connection, POOL_CHANGED, server.id, &fact(&server)).await?;
    request_objects(connection, &server).await?;
    Ok(server)
}

/// Its tenant shall move to another server of its own.
pub async fn retire(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("UPDATE db_servers SET retiring = true WHERE id = $1 AND NOT retiring", id)
        .execute(connection)
        .await?;
    Ok(())
}

/// The volume of a removed server is gone.
pub async fn volume_removed(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE db_servers SET volume_removed_at = $2 WHERE id = $1 AND status = 'deprovisioned' AND volume_removed_at IS NULL",
        id,
        now
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Wakes the leader's activation loop in whichever replica it runs.
pub async fn wake_leader(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_notify('pool_work', '')::text").fetch_one(connection).await?;
    Ok(())
}
