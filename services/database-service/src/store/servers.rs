//! Table `db_servers`. [`save`] is the only way to change a row: it counts the version up and announces the change in the same transaction.

use contracts::events::PoolFact;
use contracts::events::topics::{POOL_CHANGED, POOL_REQUESTED};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::decode;
use crate::domain::growth::Supply;
use crate::domain::names::{ExternalId, pool_name};
use crate::domain::pool::{
    Fill, HealthStatus, InvalidTransition, Observed, PoolEvent, PoolStatus, ServerType,
};

/// A server that holds tenants.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Id.
    pub id: Uuid,
    /// Name of the StatefulSet.
    pub name: String,
    /// What it is for.
    pub server_type: ServerType,
    /// State.
    pub status: PoolStatus,
    /// Health.
    pub health: HealthStatus,
    /// Host for pods; empty until known.
    pub host: String,
    /// Port for pods.
    pub port: i32,
    /// Host for this service; empty until known.
    pub platform_host: String,
    /// Port for this service.
    pub platform_port: i32,
    /// Administrator's role.
    pub admin_user: String,
    /// Slots.
    pub fill: Fill,
    /// Lower is chosen first.
    pub priority: i32,
    /// automatic or manual.
    pub allocation_strategy: String,
    /// Version text; empty until known.
    pub postgres_version: String,
    /// Image of the pod.
    pub image: String,
    /// Requests and limits, as Kubernetes writes them.
    pub resources: Resources,
    /// The tenant of a dedicated server.
    pub instance_id: Option<String>,
    /// Last word of the worker.
    pub observed: Observed,
    /// Node of the pod.
    pub node: String,
    /// Safe text.
    pub last_error: String,
    /// Bad checks in a row.
    pub failures: i32,
    /// Last check.
    pub last_health_check: Option<OffsetDateTime>,
    /// All its slots are spoken for while it is in the making.
    pub booked_out: bool,
    /// Of the wanted objects.
    pub generation: i64,
    /// Of the row.
    pub version: i64,
    /// First time active.
    pub provisioned_at: Option<OffsetDateTime>,
    /// Last slot taken.
    pub last_allocated_at: Option<OffsetDateTime>,
    /// Since when it has this state.
    pub status_since: OffsetDateTime,
    /// When it was ordered.
    pub created_at: OffsetDateTime,
}

/// What a pool's pod gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resources {
    /// Processor time asked for.
    pub cpu_request: String,
    /// Processor time at most.
    pub cpu_limit: String,
    /// Memory asked for.
    pub memory_request: String,
    /// Memory at most.
    pub memory_limit: String,
    /// Size of the volume.
    pub storage: String,
}

impl Server {
    /// Moves the state by the one rule; `now` is noted when it changes.
    pub fn apply(&mut self, event: PoolEvent, now: OffsetDateTime) -> Result<(), InvalidTransition> {
        let next = self.status.after(event, self.fill)?;
        if next != self.status {
            self.status = next;
            self.status_since = now;
        }
        Ok(())
    }

    fn fact(&self) -> PoolFact {
        PoolFact {
            id: self.id,
            name: self.name.clone(),
            server_type: self.server_type.to_string(),
            status: self.status.to_string(),
            health_status: self.health.to_string(),
            host: self.host.clone(),
            port: self.port,
            admin_user: self.admin_user.clone(),
            current_instances: self.fill.current,
            max_instances: self.fill.max,
            priority: self.priority,
            allocation_strategy: self.allocation_strategy.clone(),
            postgres_version: self.postgres_version.clone(),
            health_check_failures: self.failures,
            last_health_check: self.last_health_check,
            version: self.version,
        }
    }
}

/// The row, column by column.
struct Row {
    id: Uuid,
    name: String,
    server_type: String,
    status: String,
    health_status: String,
    host: String,
    port: i32,
    platform_host: String,
    platform_port: i32,
    admin_user: String,
    current_instances: i32,
    max_instances: i32,
    priority: i32,
    allocation_strategy: String,
    postgres_version: String,
    image: String,
    cpu_request: String,
    cpu_limit: String,
    memory_request: String,
    memory_limit: String,
    storage_size: String,
    instance_id: Option<String>,
    observed: String,
    node: String,
    last_error: String,
    health_check_failures: i32,
    last_health_check: Option<OffsetDateTime>,
    booked_out: bool,
    generation: i64,
    version: i64,
    #[expect(dead_code, reason = "for operators")]
    provisioned_by: String,
    provisioned_at: Option<OffsetDateTime>,
    last_allocated_at: Option<OffsetDateTime>,
    status_since: OffsetDateTime,
    created_at: OffsetDateTime,
    #[expect(dead_code, reason = "for operators")]
    updated_at: OffsetDateTime,
}

impl TryFrom<Row> for Server {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.id,
            name: row.name,
            server_type: row.server_type.parse().map_err(decode)?,
            status: row.status.parse().map_err(decode)?,
            health: row.health_status.parse().map_err(decode)?,
            host: row.host,
            port: row.port,
            platform_host: row.platform_host,
            platform_port: row.platform_port,
            admin_user: row.admin_user,
            fill: Fill { current: row.current_instances, max: row.max_instances },
            priority: row.priority,
            allocation_strategy: row.allocation_strategy,
            postgres_version: row.postgres_version,
            image: row.image,
            resources: Resources {
                cpu_request: row.cpu_request,
                cpu_limit: row.cpu_limit,
                memory_request: row.memory_request,
                memory_limit: row.memory_limit,
                storage: row.storage_size,
            },
            instance_id: row.instance_id,
            observed: row.observed.parse().map_err(decode)?,
            node: row.node,
            last_error: row.last_error,
            failures: row.health_check_failures,
            last_health_check: row.last_health_check,
            booked_out: row.booked_out,
            generation: row.generation,
            version: row.version,
            provisioned_at: row.provisioned_at,
            last_allocated_at: row.last_allocated_at,
            status_since: row.status_since,
            created_at: row.created_at,
        })
    }
}

/// One server.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Server>> {
    let row = sqlx::query_as!(Row, "SELECT * FROM db_servers WHERE id = $1", id).fetch_optional(conn).await?;
    row.map(Server::try_from).transpose()
}

/// One server by its name.
pub async fn find_by_name(conn: &mut PgConnection, name: &str) -> sqlx::Result<Option<Server>> {
    let row =
        sqlx::query_as!(Row, "SELECT * FROM db_servers WHERE name = $1", name).fetch_optional(conn).await?;
    row.map(Server::try_from).transpose()
}

/// One server, locked until the end of the transaction.
pub async fn lock(conn: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Server>> {
    let row = sqlx::query_as!(Row, "SELECT * FROM db_servers WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(conn)
        .await?;
    row.map(Server::try_from).transpose()
}

/// Servers whose objects the worker looks after: all but the platform's own and those that are gone.
pub async fn managed(conn: &mut PgConnection) -> sqlx::Result<Vec<Server>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE server_type <> 'platform' AND status <> 'deprovisioned' ORDER BY created_at, id"
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Server::try_from).collect()
}

/// A page of the operators' list; an absent filter takes all. Newest first.
pub async fn list(
    conn: &mut PgConnection,
    status: Option<PoolStatus>,
    server_type: Option<ServerType>,
    limit: i64,
    offset: i64,
) -> sqlx::Result<(Vec<Server>, i64)> {
    let (status, server_type) = (status.map(PoolStatus::as_str), server_type.map(ServerType::as_str));
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR server_type = $2)
         ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4",
        status,
        server_type,
        limit,
        offset
    )
    .fetch_all(&mut *conn)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM db_servers WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR server_type = $2)"#,
        status,
        server_type
    )
    .fetch_one(conn)
    .await?;
    let servers: sqlx::Result<Vec<Server>> = rows.into_iter().map(Server::try_from).collect();
    Ok((servers?, total))
}

/// Locks the shared pool that shall take the next tenant (DBS-22). First without waiting, so that parallel requests spread; when every
/// candidate is locked, waiting for them, because a locked pool is not a full one.
pub async fn lock_with_room(conn: &mut PgConnection) -> sqlx::Result<Option<Server>> {
    let free = sqlx::query_scalar!(
        "SELECT id FROM db_servers
         WHERE server_type = 'shared' AND status = 'active' AND current_instances < max_instances AND allocation_strategy = 'automatic'
           AND (health_status = 'healthy' OR (health_status = 'unknown' AND provisioned_at > now() - interval '10 minutes'))
         ORDER BY priority, current_instances::float8 / max_instances, created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(&mut *conn)
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
            .fetch_optional(&mut *conn)
            .await?
        }
    };
    match id {
        Some(id) => find(conn, id).await,
        None => Ok(None),
    }
}

/// The dedicated server of a tenant, whatever its state, locked.
pub async fn lock_dedicated(conn: &mut PgConnection, instance: &ExternalId) -> sqlx::Result<Option<Server>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE instance_id = $1 AND server_type = 'dedicated' AND status <> 'deprovisioned' FOR UPDATE",
        instance.as_str()
    )
    .fetch_optional(conn)
    .await?;
    row.map(Server::try_from).transpose()
}

/// Writes what may change, counts the version up, announces the new row. The caller holds the row's lock. Gives the row as it is now: the
/// trigger may have changed the number of tenants.
pub async fn save(conn: &mut PgConnection, server: &Server) -> sqlx::Result<Server> {
    let row = sqlx::query_as!(
        Row,
        "UPDATE db_servers SET status = $2, health_status = $3, host = $4, port = $5, platform_host = $6, platform_port = $7,
             postgres_version = $8, observed = $9, node = $10, last_error = $11, health_check_failures = $12, last_health_check = $13,
             booked_out = $14, generation = $15, provisioned_at = $16, last_allocated_at = $17, status_since = $18,
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
    )
    .fetch_one(&mut *conn)
    .await?;
    let saved = Server::try_from(row)?;
    messaging::outbox::enqueue(&mut *conn, POOL_CHANGED, saved.id, &saved.fact()).await?;
    Ok(saved)
}

/// Asks the worker to make (or remove) the objects of a server.
pub async fn request_objects(conn: &mut PgConnection, server: &Server) -> sqlx::Result<()> {
    messaging::outbox::enqueue(conn, POOL_REQUESTED, server.id, &server.fact()).await?;
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
}

/// Adds a server in `provisioning` with the next number of its kind (DBS-26), and announces it. The secret is the caller's to add.
pub async fn insert(conn: &mut PgConnection, order: &Order<'_>, now: OffsetDateTime) -> sqlx::Result<Server> {
    let (server_type, number) = if order.instance.is_some() {
        let number = sqlx::query_scalar!(r#"SELECT nextval('dedicated_pool_number') AS "number!""#);
        (ServerType::Dedicated, number.fetch_one(&mut *conn).await?)
    } else {
        let number = sqlx::query_scalar!(r#"SELECT nextval('shared_pool_number') AS "number!""#);
        (ServerType::Shared, number.fetch_one(&mut *conn).await?)
    };
    let row = sqlx::query_as!(
        Row,
        "INSERT INTO db_servers (id, name, server_type, status, max_instances, image, cpu_request, cpu_limit, memory_request, memory_limit,
             storage_size, instance_id, status_since, created_at)
         VALUES ($1, $2, $3, 'provisioning', $4, $5, $6, $7, $8, $9, $10, $11, $12, $12) RETURNING *",
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
    )
    .fetch_one(&mut *conn)
    .await?;
    let server = Server::try_from(row)?;
    messaging::outbox::enqueue(&mut *conn, POOL_CHANGED, server.id, &server.fact()).await?;
    request_objects(conn, &server).await?;
    Ok(server)
}

/// What is there, what is coming, who waits. Pools that fail their checks for good do not count; those that stumble do.
pub async fn supply(conn: &mut PgConnection) -> sqlx::Result<Supply> {
    let row = sqlx::query!(
        r#"SELECT
             coalesce(sum(max_instances - current_instances) FILTER (WHERE status = 'active' AND health_status <> 'unhealthy'
                 AND allocation_strategy = 'automatic'), 0)::bigint AS "free!",
             coalesce(sum(max_instances) FILTER (WHERE status IN ('provisioning', 'initializing')), 0)::bigint AS "coming!",
             count(*) FILTER (WHERE status IN ('active', 'full')) AS "serving!",
             (SELECT count(*) FROM waiting WHERE server_type = 'shared') AS "waiting!"
           FROM db_servers WHERE server_type = 'shared'"#
    )
    .fetch_one(conn)
    .await?;
    Ok(Supply { free: row.free, coming: row.coming, waiting: row.waiting, serving: row.serving })
}

/// Shared pools in the making that are not booked out yet, locked.
pub async fn lock_open_in_the_making(conn: &mut PgConnection) -> sqlx::Result<Vec<Server>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT * FROM db_servers WHERE server_type = 'shared' AND status IN ('provisioning', 'initializing') AND NOT booked_out FOR UPDATE"
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Server::try_from).collect()
}

/// One decision on growth at a time, over all replicas, until the end of the transaction.
pub async fn lock_growth(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('database-service.growth', 0))::text")
        .fetch_one(conn)
        .await?;
    Ok(())
}

/// When the youngest shared pool that never came up was given up, if it still is.
pub async fn last_failed_order(conn: &mut PgConnection) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!(
        "SELECT max(status_since) FROM db_servers WHERE server_type = 'shared' AND status = 'error' AND provisioned_at IS NULL"
    )
    .fetch_one(conn)
    .await
}

/// Wakes the leader's activation loop in whichever replica it runs.
pub async fn wake_leader(conn: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query!("SELECT pg_notify('pool_work', '')::text").fetch_one(conn).await?;
    Ok(())
}
