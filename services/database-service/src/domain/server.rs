//! A server that holds tenants' databases (DBS-36).

use time::OffsetDateTime;
use uuid::Uuid;

use super::checks::Disk;
use super::pool::{Fill, HealthStatus, InvalidTransition, Observed, PoolEvent, PoolStatus, ServerType};

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
}
