//! Database pools and allocations (3.1, 3.2).

use contracts::database::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use super::scalars::{Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct Pool {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(example = "postgres-pool-1")]
    pub name: String,
    /// platform, shared, dedicated
    #[schema(example = "shared")]
    pub server_type: String,
    /// provisioning, initializing, active, full, maintenance, error, deprovisioning, deprovisioned
    #[schema(example = "active")]
    pub status: String,
    /// unknown, healthy, degraded, unhealthy
    #[schema(example = "healthy")]
    pub health_status: String,
    #[schema(example = 5)]
    pub current_instances: u32,
    #[schema(example = 50)]
    pub max_instances: u32,
    #[schema(example = 10.0)]
    pub capacity_percentage: f64,
    #[schema(example = "postgres-pool-1.saasodoo")]
    pub host: Option<String>,
    #[schema(example = 5432)]
    pub port: u32,
    #[schema(example = "15.14")]
    pub postgres_version: Option<String>,
    #[schema(example = "2")]
    pub cpu_limit: String,
    #[schema(example = "4Gi")]
    pub memory_limit: String,
    pub created_at: Option<Time>,
    pub last_health_check: Option<Time>,
}

impl From<&pb::Pool> for Pool {
    fn from(pool: &pb::Pool) -> Self {
        Self {
            id: pool.id.clone(),
            name: pool.name.clone(),
            server_type: pool.server_type.clone(),
            status: pool.status.clone(),
            health_status: pool.health_status.clone(),
            current_instances: pool.current_instances,
            max_instances: pool.max_instances,
            capacity_percentage: percentage(pool.current_instances, pool.max_instances),
            host: text(pool.host.clone()),
            port: pool.port,
            postgres_version: text(pool.postgres_version.clone()),
            cpu_limit: pool.cpu_limit.clone(),
            memory_limit: pool.memory_limit.clone(),
            created_at: time(pool.created_at.as_ref()),
            last_health_check: time(pool.last_health_check.as_ref()),
        }
    }
}

/// With one digit.
fn percentage(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { (f64::from(part) * 1000.0 / f64::from(whole)).round() / 10.0 }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolList {
    pub pools: Vec<Pool>,
    pub total_count: u64,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolAllocation {
    /// A UUID, or the word under which it was asked for.
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    pub instance_id: String,
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a12")]
    pub customer_id: String,
    #[schema(example = "odoo_0196f0c0_0196f0c0")]
    pub db_name: String,
    #[schema(example = "starter")]
    pub plan_tier: String,
    /// allocating, allocated, released, purged
    #[schema(example = "allocated")]
    pub state: String,
    pub created_at: Option<Time>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolDetail {
    #[serde(flatten)]
    pub pool: Pool,
    #[schema(example = "pool_admin")]
    pub admin_user: String,
    /// Lower is chosen first.
    #[schema(example = 100)]
    pub priority: i32,
    /// automatic, manual
    #[schema(example = "automatic")]
    pub allocation_strategy: String,
    #[schema(example = "50Gi")]
    pub storage_size: String,
    /// Bytes of all databases and the log, at the last good check.
    #[schema(example = 73_400_320)]
    pub storage_used: u64,
    /// Bytes left on the volume, when the server can tell.
    pub storage_free: Option<u64>,
    /// Connections in use at the last good check.
    #[schema(example = 12)]
    pub connections: u32,
    #[schema(example = 420)]
    pub max_connections: u32,
    pub latency_ms: Option<u32>,
    #[schema(example = "node-1")]
    pub node: Option<String>,
    #[schema(example = "postgres-pool-1")]
    pub statefulset: String,
    #[schema(example = "saasodoo")]
    pub namespace: String,
    /// Bad checks in a row.
    #[schema(example = 0)]
    pub health_check_failures: i32,
    pub last_error: Option<String>,
    /// automatic, or the administrator who ordered it.
    #[schema(example = "automatic")]
    pub provisioned_by: String,
    pub provisioned_at: Option<Time>,
    pub last_allocated_at: Option<Time>,
    /// The tenant of a dedicated server.
    pub instance_id: Option<String>,
    pub allocations_count: usize,
    pub allocations: Vec<PoolAllocation>,
}

impl PoolDetail {
    pub fn new(pool: pb::Pool, allocations: Vec<pb::Allocation>) -> Self {
        Self {
            provisioned_at: time(pool.provisioned_at.as_ref()),
            last_allocated_at: time(pool.last_allocated_at.as_ref()),
            pool: Pool::from(&pool),
            admin_user: pool.admin_user,
            priority: pool.priority,
            allocation_strategy: pool.allocation_strategy,
            storage_size: pool.storage_size,
            storage_used: pool.storage_used_bytes,
            storage_free: pool.storage_free_bytes,
            connections: pool.connections,
            max_connections: pool.max_connections,
            latency_ms: pool.check_latency_ms,
            node: text(pool.node),
            statefulset: pool.name,
            namespace: pool.namespace,
            health_check_failures: pool.health_check_failures,
            last_error: text(pool.last_error),
            provisioned_by: pool.provisioned_by,
            instance_id: pool.instance_id,
            allocations_count: allocations.len(),
            allocations: allocations
                .into_iter()
                .map(|allocation| PoolAllocation {
                    created_at: time(allocation.created_at.as_ref()),
                    instance_id: allocation.instance_id,
                    customer_id: allocation.customer_id,
                    db_name: allocation.db_name,
                    plan_tier: allocation.plan_tier,
                    state: allocation.state,
                })
                .collect(),
        }
    }
}
