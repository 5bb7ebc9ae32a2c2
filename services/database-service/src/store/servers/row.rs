//! A row of `db_servers` and its domain form.

use contracts::events::PoolFact;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::checks::Disk;
use crate::domain::pool::{
    Fill, HealthStatus, InvalidTransition, Observed, PoolEvent, PoolStatus, ServerType,
};
use crate::store::decode;

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
    /// What the last good check measured.
    pub measured: Measured,
    /// All its slots are spoken for while it is in the making.
    pub booked_out: bool,
    /// Of the wanted objects.
    pub generation: i64,
    /// Of the row.
    pub version: i64,
    /// Who ordered it: `automatic`, or an administrator.
    pub provisioned_by: String,
    /// First time active.
    pub provisioned_at: Option<OffsetDateTime>,
    /// Last slot taken.
    pub last_allocated_at: Option<OffsetDateTime>,
    /// Since when it has this state.
    pub status_since: OffsetDateTime,
    /// When it was ordered.
    pub created_at: OffsetDateTime,
}

/// Space and connections at the last good check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measured {
    /// Space of the volume.
    pub disk: Disk,
    /// Connections in use.
    pub connections: i32,
    /// And at most.
    pub max_connections: i32,
    /// How long connect, query and write took.
    pub latency_ms: Option<i32>,
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

    pub(super) fn fact(&self) -> PoolFact {
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
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) server_type: String,
    pub(super) status: String,
    pub(super) health_status: String,
    pub(super) host: String,
    pub(super) port: i32,
    pub(super) platform_host: String,
    pub(super) platform_port: i32,
    pub(super) admin_user: String,
    pub(super) current_instances: i32,
    pub(super) max_instances: i32,
    pub(super) priority: i32,
    pub(super) allocation_strategy: String,
    pub(super) postgres_version: String,
    pub(super) image: String,
    pub(super) cpu_request: String,
    pub(super) cpu_limit: String,
    pub(super) memory_request: String,
    pub(super) memory_limit: String,
    pub(super) storage_size: String,
    pub(super) instance_id: Option<String>,
    pub(super) observed: String,
    pub(super) node: String,
    pub(super) last_error: String,
    pub(super) health_check_failures: i32,
    pub(super) last_health_check: Option<OffsetDateTime>,
    pub(super) booked_out: bool,
    pub(super) generation: i64,
    pub(super) version: i64,
    pub(super) provisioned_by: String,
    pub(super) provisioned_at: Option<OffsetDateTime>,
    pub(super) last_allocated_at: Option<OffsetDateTime>,
    pub(super) status_since: OffsetDateTime,
    pub(super) created_at: OffsetDateTime,
    #[expect(dead_code, reason = "for operators")]
    pub(super) updated_at: OffsetDateTime,
    pub(super) storage_used: i64,
    pub(super) storage_free: Option<i64>,
    pub(super) storage_total: Option<i64>,
    pub(super) connections: i32,
    pub(super) max_connections: i32,
    pub(super) check_latency_ms: Option<i32>,
    #[expect(dead_code, reason = "looked at in SQL only")]
    pub(super) retiring: bool,
    #[expect(dead_code, reason = "for operators")]
    pub(super) volume_removed_at: Option<OffsetDateTime>,
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
