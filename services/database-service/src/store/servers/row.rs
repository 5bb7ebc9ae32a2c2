//! A row of `db_servers` and its domain form.

use contracts::events::PoolFact;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::checks::Disk;
use crate::domain::pool::Fill;
use crate::domain::server::{Measured, Resources, Server};
use crate::store::decode;

/// The server as events tell of it.
pub(crate) fn fact(server: &Server) -> PoolFact {
    PoolFact {
        id: server.id,
        name: server.name.clone(),
        server_type: server.server_type.to_string(),
        status: server.status.to_string(),
        health_status: server.health.to_string(),
        host: server.host.clone(),
        port: server.port,
        admin_user: server.admin_user.clone(),
        current_instances: server.fill.current,
        max_instances: server.fill.max,
        priority: server.priority,
        allocation_strategy: server.allocation_strategy.clone(),
        postgres_version: server.postgres_version.clone(),
        health_check_failures: server.failures,
        last_health_check: server.last_health_check,
        version: server.version,
    }
}

/// The row, column by column.
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) server_type: String,
    pub(crate) status: String,
    pub(crate) health_status: String,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) platform_host: String,
    pub(crate) platform_port: i32,
    pub(crate) admin_user: String,
    pub(crate) current_instances: i32,
    pub(crate) max_instances: i32,
    pub(crate) priority: i32,
    pub(crate) allocation_strategy: String,
    pub(crate) postgres_version: String,
    pub(crate) image: String,
    pub(crate) cpu_request: String,
    pub(crate) cpu_limit: String,
    pub(crate) memory_request: String,
    pub(crate) memory_limit: String,
    pub(crate) storage_size: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) observed: String,
    pub(crate) node: String,
    pub(crate) last_error: String,
    pub(crate) health_check_failures: i32,
    pub(crate) last_health_check: Option<OffsetDateTime>,
    pub(crate) booked_out: bool,
    pub(crate) generation: i64,
    pub(crate) version: i64,
    pub(crate) provisioned_by: String,
    pub(crate) provisioned_at: Option<OffsetDateTime>,
    pub(crate) last_allocated_at: Option<OffsetDateTime>,
    pub(crate) status_since: OffsetDateTime,
    pub(crate) created_at: OffsetDateTime,
    #[expect(dead_code, reason = "for operators")]
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) storage_used: i64,
    pub(crate) storage_free: Option<i64>,
    pub(crate) storage_total: Option<i64>,
    pub(crate) connections: i32,
    pub(crate) max_connections: i32,
    pub(crate) check_latency_ms: Option<i32>,
    #[expect(dead_code, reason = "looked at in SQL only")]
    pub(crate) retiring: bool,
    #[expect(dead_code, reason = "for operators")]
    pub(crate) volume_removed_at: Option<OffsetDateTime>,
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
            measured: Measured {
                disk: Disk { used: row.storage_used, free: row.storage_free, total: row.storage_total },
                connections: row.connections,
                max_connections: row.max_connections,
                latency_ms: row.check_latency_ms,
            },
            booked_out: row.booked_out,
            generation: row.generation,
            version: row.version,
            provisioned_by: row.provisioned_by,
            provisioned_at: row.provisioned_at,
            last_allocated_at: row.last_allocated_at,
            status_since: row.status_since,
            created_at: row.created_at,
        })
    }
}
