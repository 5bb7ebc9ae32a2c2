//! Database pools.

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
        let used = if pool.max_instances == 0 {
            0.0
        } else {
            f64::from(pool.current_instances) * 100.0 / f64::from(pool.max_instances)
        };
        Self {
            id: pool.id.clone(),
            name: pool.name.clone(),
            server_type: pool.server_type.clone(),
            status: pool.status.clone(),
            health_status: pool.health_status.clone(),
            current_instances: pool.current_instances,
            max_instances: pool.max_instances,
            capacity_percentage: (used * 10.0).round() / 10.0,
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
    #[schema(format = Uuid)]
    pub instance_id: String,
    #[schema(format = Uuid)]
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
    #[schema(example = 100)]
    pub priority: i32,
    #[schema(example = "50Gi")]
    pub storage_size: String,
    pub last_error: Option<String>,
    pub provisioned_at: Option<Time>,
    pub last_allocated_at: Option<Time>,
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
            storage_size: pool.storage_size,
            last_error: text(pool.last_error),
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
