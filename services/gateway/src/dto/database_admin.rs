//! Bodies of the routes that change pools and allocations, and of their answers (part 3 of the API).

use std::collections::BTreeMap;

use contracts::database::v1 as pb;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::checks::Checks;
use super::database::Pool;
use super::scalars::{Time, text, time};
use crate::problem::Problem;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvisionPool {
    /// Slots; default `DB_POOL_MAX_INSTANCES`.
    #[schema(minimum = 1, maximum = 500, example = 50)]
    pub max_instances: Option<u32>,
    /// Only `shared`: dedicated servers are ordered for an instance.
    #[schema(example = "shared")]
    pub server_type: Option<String>,
}

impl ProvisionPool {
    pub fn checked(self, request_key: String) -> Result<pb::ProvisionPoolRequest, Problem> {
        Checks::default()
            .that(
                self.max_instances.is_none_or(|slots| (1..=500).contains(&slots)),
                "max_instances",
                "must be from 1 to 500",
            )
            .that(
                self.server_type.as_deref().is_none_or(|word| word == "shared"),
                "server_type",
                "must be shared",
            )
            .done()?;
        Ok(pb::ProvisionPoolRequest {
            max_instances: self.max_instances.unwrap_or_default(),
            server_type: self.server_type.unwrap_or_default(),
            request_key,
        })
    }
}

/// A pool in few words.
#[derive(Debug, Serialize, ToSchema)]
pub struct PoolInMaking {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(example = "postgres-pool-2")]
    pub name: String,
    #[schema(example = "provisioning")]
    pub status: String,
}

impl From<pb::Pool> for PoolInMaking {
    fn from(pool: pb::Pool) -> Self {
        Self { id: pool.id, name: pool.name, status: pool.status }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolOrdered {
    #[schema(format = Uuid)]
    pub task_id: String,
    #[schema(example = "the pool is being made")]
    pub message: &'static str,
    #[schema(example = 50)]
    pub max_instances: u32,
    #[schema(example = "shared")]
    pub server_type: String,
    pub pool: PoolInMaking,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePool {
    /// active, maintenance
    #[schema(example = "maintenance")]
    pub status: Option<String>,
    #[schema(minimum = 1, maximum = 500)]
    pub max_instances: Option<u32>,
    /// Lower is chosen first.
    #[schema(minimum = 0, maximum = 1000)]
    pub priority: Option<u32>,
    #[schema(min_length = 5, max_length = 500, example = "new disks on Sunday")]
    pub reason: String,
}

impl ChangePool {
    pub fn checked(self, pool: String) -> Result<pb::UpdatePoolRequest, Problem> {
        Checks::default().text("reason", &self.reason, 5..=500).done()?;
        Ok(pb::UpdatePoolRequest {
            pool,
            status: self.status,
            max_instances: self.max_instances,
            priority: self.priority,
            reason: self.reason,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolRemoval {
    #[schema(example = "the pool is being removed")]
    pub message: &'static str,
    pub pool: PoolInMaking,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolCheckPart {
    /// connect, query, write, disk, connections
    #[schema(example = "disk")]
    pub name: String,
    pub ok: bool,
    #[schema(example = "87.2 % of the volume is free")]
    pub detail: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolChecked {
    #[schema(format = Uuid)]
    pub pool_id: String,
    #[schema(example = "postgres-pool-1")]
    pub name: String,
    #[schema(example = "active")]
    pub status: String,
    /// unknown, healthy, degraded (1 or 2 failures), unhealthy (3 or more)
    #[schema(example = "healthy")]
    pub health_status: String,
    pub checked_at: Option<Time>,
    /// null when the server was not reached
    pub latency_ms: Option<u32>,
    /// In a row.
    pub failures: i32,
    pub checks: Vec<PoolCheckPart>,
}

impl PoolChecked {
    pub fn new(pool: pb::Pool, found: pb::CheckPoolResponse) -> Self {
        Self {
            pool_id: pool.id,
            name: pool.name,
            status: pool.status,
            health_status: pool.health_status,
            checked_at: time(found.checked_at.as_ref()),
            latency_ms: found.latency_ms,
            failures: pool.health_check_failures,
            checks: found
                .checks
                .into_iter()
                .map(|part| PoolCheckPart { name: part.name, ok: part.ok, detail: part.detail })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolTenant {
    #[schema(example = "odoo_0196f0c0_0196f0c0")]
    pub db_name: String,
    /// null: a database that no allocation explains
    pub instance_id: Option<String>,
    pub customer_id: Option<String>,
    pub plan_tier: Option<String>,
    pub state: Option<String>,
    pub size_bytes: u64,
    pub connections: u32,
    pub active: u32,
    pub idle_in_transaction: u32,
    pub waiting_for_locks: u32,
    pub longest_statement_seconds: f64,
    pub longest_transaction_seconds: f64,
    pub commits: u64,
    pub rollbacks: u64,
    pub temp_bytes: u64,
    pub deadlocks: u64,
    /// Time spent in statements since the statistics began.
    pub active_seconds: f64,
    /// A statement runs for 30 s or a transaction is open for 5 minutes, or longer.
    pub slow: bool,
}

impl From<pb::PoolTenant> for PoolTenant {
    fn from(tenant: pb::PoolTenant) -> Self {
        Self {
            db_name: tenant.db_name,
            instance_id: text(tenant.instance_id),
            customer_id: text(tenant.customer_id),
            plan_tier: text(tenant.plan_tier),
            state: text(tenant.state),
            size_bytes: tenant.size_bytes,
            connections: tenant.connections,
            active: tenant.active,
            idle_in_transaction: tenant.idle_in_transaction,
            waiting_for_locks: tenant.waiting_for_locks,
            longest_statement_seconds: tenant.longest_statement_seconds,
            longest_transaction_seconds: tenant.longest_transaction_seconds,
            commits: tenant.commits,
            rollbacks: tenant.rollbacks,
            temp_bytes: tenant.temp_bytes,
            deadlocks: tenant.deadlocks,
            active_seconds: tenant.active_seconds,
            slow: tenant.slow,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PoolTenants {
    pub pool: Pool,
    /// Slowest first, then largest.
    pub tenants: Vec<PoolTenant>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseStats {
    pub total_pools: u32,
    pub active_pools: u32,
    pub total_capacity: u64,
    pub total_used: u64,
    /// Per cent.
    #[schema(example = 12.5)]
    pub overall_utilization: f64,
    pub by_status: BTreeMap<String, u32>,
    pub by_type: BTreeMap<String, u32>,
    pub by_health: BTreeMap<String, u32>,
    /// Requests that have no database yet.
    pub pending_allocations: u64,
    /// Until the free slots of shared pools are gone at the present rate; null while use does not grow.
    pub forecast_days_left: Option<f64>,
    pub growth_per_day: f64,
    pub storage_used: u64,
}

impl From<pb::GetDatabaseStatsResponse> for DatabaseStats {
    fn from(stats: pb::GetDatabaseStatsResponse) -> Self {
        Self {
            total_pools: stats.total_pools,
            active_pools: stats.active_pools,
            total_capacity: stats.total_capacity,
            total_used: stats.total_used,
            overall_utilization: stats.overall_utilization,
            by_status: stats.by_status.into_iter().collect(),
            by_type: stats.by_type.into_iter().collect(),
            by_health: stats.by_health.into_iter().collect(),
            pending_allocations: stats.pending_allocations,
            forecast_days_left: stats.forecast_days_left,
            growth_per_day: stats.growth_per_day,
            storage_used: stats.storage_used_bytes,
        }
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTask {
    #[schema(max_length = 500, example = "after the outage of this morning")]
    pub reason: Option<String>,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartCleanup {
    /// Only list what would go.
    #[serde(default)]
    pub dry_run: bool,
    #[schema(max_length = 500, example = "after the outage of this morning")]
    pub reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CleanupCandidate {
    #[schema(format = Uuid)]
    pub pool_id: String,
    pub name: String,
    /// remove, keep
    pub verdict: String,
    #[schema(example = "in error for a day, and nothing is on it")]
    pub why: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CleanupPlan {
    pub dry_run: bool,
    /// Pools in error, and what becomes of each.
    pub pools: Vec<CleanupCandidate>,
}

impl From<Vec<pb::CleanupCandidate>> for CleanupPlan {
    fn from(candidates: Vec<pb::CleanupCandidate>) -> Self {
        let pools = candidates.into_iter().map(|found| CleanupCandidate {
            pool_id: found.pool_id,
            name: found.name,
            verdict: found.verdict,
            why: found.why,
        });
        Self { dry_run: true, pools: pools.collect() }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseTask {
    #[schema(format = Uuid)]
    pub task_id: String,
    /// health_check, cleanup, provision_pool, provision_dedicated
    #[schema(example = "cleanup")]
    pub kind: String,
    /// queued, running, succeeded, failed
    #[schema(example = "succeeded")]
    pub state: String,
    /// schedule, or who asked.
    #[schema(example = "schedule")]
    pub requested_by: String,
    pub pool_id: Option<String>,
    /// What came of it; its fields are those of the kind.
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    pub error: Option<String>,
    pub created_at: Option<Time>,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
}

impl From<pb::DatabaseTask> for DatabaseTask {
    fn from(task: pb::DatabaseTask) -> Self {
        Self {
            task_id: task.task_id,
            kind: task.kind,
            state: task.state,
            requested_by: task.requested_by,
            pool_id: task.pool_id,
            result: serde_json::from_str(&task.result_json).ok(),
            error: text(task.error),
            created_at: time(task.created_at.as_ref()),
            started_at: time(task.started_at.as_ref()),
            finished_at: time(task.finished_at.as_ref()),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DatabaseTaskList {
    pub tasks: Vec<DatabaseTask>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Allocate {
    /// A UUID, or 1 to 63 characters of A-Z, a-z, 0-9, _ and -.
    #[schema(example = "test-instance-001")]
    pub instance_id: String,
    #[schema(example = "test-customer-001")]
    pub customer_id: String,
    /// starter, standard, premium, enterprise
    #[schema(example = "starter")]
    pub plan_tier: String,
    pub require_dedicated: Option<bool>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProvisionDedicated {
    #[schema(example = "premium-instance-001")]
    pub instance_id: String,
    #[schema(example = "premium-customer-001")]
    pub customer_id: String,
    /// premium, enterprise
    #[schema(example = "enterprise")]
    pub plan_tier: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    #[schema(example = "test-instance-001")]
    pub instance_id: String,
    /// soft keeps the database for the retention, purge drops it now.
    #[schema(example = "soft")]
    pub mode: Option<String>,
    #[schema(max_length = 500, example = "the test is over")]
    pub reason: Option<String>,
}

impl Release {
    pub fn checked(self) -> Result<pb::ReleaseRequest, Problem> {
        Checks::default().optional("reason", self.reason.as_deref(), 0..=500).done()?;
        Ok(pb::ReleaseRequest {
            instance_id: self.instance_id,
            mode: self.mode.unwrap_or_else(|| "soft".to_owned()),
            reason: self.reason.unwrap_or_default(),
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Released {
    /// released, purged
    #[schema(example = "released")]
    pub status: String,
    pub purge_after: Option<Time>,
}

/// Where the password is; it is never in an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecretReference {
    #[schema(example = "odoo-instances")]
    pub secret_namespace: String,
    #[schema(example = "odoo-0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    pub secret_name: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Allocation {
    /// allocated, allocating, released
    #[schema(example = "allocated")]
    pub status: String,
    #[schema(format = Uuid)]
    pub allocation_id: String,
    #[schema(example = "test-instance-001")]
    pub instance_id: String,
    #[schema(example = "test-customer-001")]
    pub customer_id: String,
    #[schema(format = Uuid)]
    pub db_server_id: String,
    #[schema(example = "postgres-pool-1")]
    pub db_server_name: String,
    /// As seen from a pod.
    #[schema(example = "postgres-pool-1.saasodoo.svc.cluster.local")]
    pub db_host: String,
    #[schema(example = 5432)]
    pub db_port: u32,
    #[schema(example = "odoo_testcustomer_0196f0c05a1e7c3a9f582b1f6f1f0a11")]
    pub db_name: String,
    pub db_user: String,
    /// shared, dedicated
    #[schema(example = "shared")]
    pub db_type: String,
    #[schema(example = "starter")]
    pub plan_tier: String,
    pub credentials: SecretReference,
    pub created_at: Option<Time>,
    pub purge_after: Option<Time>,
}

impl From<pb::Allocation> for Allocation {
    fn from(found: pb::Allocation) -> Self {
        Self {
            created_at: time(found.created_at.as_ref()),
            purge_after: time(found.purge_after.as_ref()),
            status: found.state,
            allocation_id: found.id,
            instance_id: found.instance_id,
            customer_id: found.customer_id,
            db_server_id: found.db_server_id,
            db_server_name: found.db_server_name,
            db_host: found.db_host,
            db_port: found.db_port,
            db_name: found.db_name,
            db_user: found.db_user,
            db_type: found.db_type,
            plan_tier: found.plan_tier,
            credentials: SecretReference {
                secret_namespace: found.secret_namespace,
                secret_name: found.secret_name,
            },
        }
    }
}

/// No database yet: ask again after `retry_after` seconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllocationPending {
    /// provisioning
    #[schema(example = "provisioning")]
    pub status: &'static str,
    #[schema(example = "a database server is being made")]
    pub message: &'static str,
    #[schema(example = 30)]
    pub retry_after: u32,
    /// Of the order of a dedicated server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_server_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "postgres-dedicated-1")]
    pub name: Option<String>,
}
