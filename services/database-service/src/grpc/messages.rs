//! From the use cases' types to messages.

use contracts::database::v1 as proto;
use contracts::scalars::timestamp;

use super::{count, unsigned};
use crate::app::cleanup::Candidate;
use crate::app::stats::{Stats, TenantUsage};
use crate::domain::server::Server;
use crate::domain::task::Task;

pub(super) fn pool(server: &Server, namespace: &str) -> proto::Pool {
    let bytes = |number: i64| count(number);
    proto::Pool {
        id: server.id.to_string(),
        name: server.name.clone(),
        server_type: server.server_type.to_string(),
        status: server.status.to_string(),
        health_status: server.health.to_string(),
        current_instances: unsigned(server.fill.current),
        max_instances: unsigned(server.fill.max),
        host: server.host.clone(),
        port: unsigned(server.port),
        postgres_version: server.postgres_version.clone(),
        cpu_limit: server.resources.cpu_limit.clone(),
        memory_limit: server.resources.memory_limit.clone(),
        created_at: Some(timestamp(server.created_at)),
        last_health_check: server.last_health_check.map(timestamp),
        admin_user: server.admin_user.clone(),
        priority: server.priority,
        storage_size: server.resources.storage.clone(),
        last_error: server.last_error.clone(),
        provisioned_at: server.provisioned_at.map(timestamp),
        last_allocated_at: server.last_allocated_at.map(timestamp),
        allocation_strategy: server.allocation_strategy.clone(),
        storage_used_bytes: bytes(server.measured.disk.used),
        storage_free_bytes: server.measured.disk.free.map(bytes),
        storage_total_bytes: server.measured.disk.total.map(bytes),
        connections: unsigned(server.measured.connections),
        max_connections: unsigned(server.measured.max_connections),
        check_latency_ms: server.measured.latency_ms.map(unsigned),
        node: server.node.clone(),
        namespace: namespace.to_owned(),
        health_check_failures: server.failures,
        provisioned_by: server.provisioned_by.clone(),
        instance_id: server.instance_id.clone(),
    }
}

pub(super) fn tenant(tenant: TenantUsage) -> proto::PoolTenant {
    let TenantUsage { usage, allocation } = tenant;
    let slow = usage.is_slow();
    let (instance_id, customer_id, plan_tier, state) = allocation.map_or_else(Default::default, |known| {
        (known.instance_id, known.customer_id, known.plan_tier.to_string(), known.state.to_string())
    });
    proto::PoolTenant {
        db_name: usage.db_name,
        instance_id,
        customer_id,
        plan_tier,
        state,
        size_bytes: count(usage.size_bytes),
        connections: unsigned(usage.connections),
        active: unsigned(usage.active),
        idle_in_transaction: unsigned(usage.idle_in_transaction),
        waiting_for_locks: unsigned(usage.waiting_for_locks),
        longest_statement_seconds: usage.longest_statement,
        longest_transaction_seconds: usage.longest_transaction,
        commits: count(usage.commits),
        rollbacks: count(usage.rollbacks),
        temp_bytes: count(usage.temp_bytes),
        deadlocks: count(usage.deadlocks),
        active_seconds: usage.active_seconds,
        slow,
    }
}

pub(super) fn stats(stats: Stats) -> proto::GetDatabaseStatsResponse {
    let small = |number: i64| u32::try_from(number).unwrap_or(0);
    let words = |map: std::collections::BTreeMap<String, i64>| {
        map.into_iter().map(|(word, number)| (word, small(number))).collect()
    };
    proto::GetDatabaseStatsResponse {
        total_pools: small(stats.total_pools),
        active_pools: small(stats.active_pools),
        total_capacity: count(stats.capacity),
        total_used: count(stats.used),
        overall_utilization: stats.utilization,
        by_status: words(stats.by_status),
        by_type: words(stats.by_type),
        by_health: words(stats.by_health),
        pending_allocations: count(stats.pending),
        forecast_days_left: stats.days_left,
        growth_per_day: stats.growth_per_day,
        storage_used_bytes: count(stats.storage_used),
    }
}

pub(super) fn candidate(candidate: &Candidate) -> proto::CleanupCandidate {
    proto::CleanupCandidate {
        pool_id: candidate.server.id.to_string(),
        name: candidate.server.name.clone(),
        verdict: candidate.verdict.as_str().into(),
        why: candidate.verdict.why().into(),
    }
}

pub(super) fn task(task: Task) -> proto::DatabaseTask {
    proto::DatabaseTask {
        task_id: task.id.to_string(),
        kind: task.kind,
        state: task.state.to_string(),
        requested_by: task.requested_by,
        result_json: task.result.map(|result| result.to_string()).unwrap_or_default(),
        error: task.error,
        created_at: Some(timestamp(task.created_at)),
        started_at: task.started_at.map(timestamp),
        finished_at: task.finished_at.map(timestamp),
        pool_id: task.db_server_id.map(|id| id.to_string()),
    }
}
