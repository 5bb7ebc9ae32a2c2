//! What tenants use on a server, as the server itself sees it (operator's view), and whether anything of a
//! tenant is there (DBS-20).

use super::connections::Tenants;
use super::target::Target;

/// One database of a tenant.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Usage {
    /// Its name.
    pub db_name: String,
    /// On disk.
    pub size_bytes: i64,
    /// Sessions.
    pub connections: i32,
    /// Sessions that run a statement.
    pub active: i32,
    /// Sessions that wait inside a transaction.
    pub idle_in_transaction: i32,
    /// Sessions that wait for a lock.
    pub waiting_for_locks: i32,
    /// Age of the oldest running statement in seconds.
    pub longest_statement: f64,
    /// Age of the oldest open transaction in seconds.
    pub longest_transaction: f64,
    /// Since the statistics began.
    pub commits: i64,
    /// Since the statistics began.
    pub rollbacks: i64,
    /// Since the statistics began.
    pub temp_bytes: i64,
    /// Since the statistics began.
    pub deadlocks: i64,
    /// Seconds spent in statements since the statistics began.
    pub active_seconds: f64,
}

impl Usage {
    /// A statement that runs for longer than this, or a transaction open for longer than the next, is slow.
    const SLOW_STATEMENT: f64 = 30.0;
    const SLOW_TRANSACTION: f64 = 300.0;

    /// Does this tenant hold others up now?
    pub fn is_slow(&self) -> bool {
        self.longest_statement >= Self::SLOW_STATEMENT || self.longest_transaction >= Self::SLOW_TRANSACTION
    }
}

impl Tenants {
    /// All databases of tenants; the slowest first, then the largest.
    pub async fn usage(&self, target: &Target) -> sqlx::Result<Vec<Usage>> {
        sqlx::query_as(
            "SELECT d.datname::text AS db_name, pg_database_size(d.oid) AS size_bytes,
                 coalesce(a.connections, 0)::int AS connections, coalesce(a.active, 0)::int AS active,
                 coalesce(a.idle_in_transaction, 0)::int AS idle_in_transaction, coalesce(a.waiting_for_locks, 0)::int AS waiting_for_locks,
                 coalesce(a.longest_statement, 0)::float8 AS longest_statement, coalesce(a.longest_transaction, 0)::float8 AS longest_transaction,
                 coalesce(s.xact_commit, 0) AS commits, coalesce(s.xact_rollback, 0) AS rollbacks, coalesce(s.temp_bytes, 0) AS temp_bytes,
                 coalesce(s.deadlocks, 0) AS deadlocks, (coalesce(s.active_time, 0) / 1000)::float8 AS active_seconds
             FROM pg_database d
             LEFT JOIN pg_stat_database s ON s.datid = d.oid
             LEFT JOIN LATERAL (
                 SELECT count(*) AS connections, count(*) FILTER (WHERE state = 'active') AS active,
                     count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction,
                     count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting_for_locks,
                     max(extract(epoch FROM now() - query_start)) FILTER (WHERE state = 'active') AS longest_statement,
                     max(extract(epoch FROM now() - xact_start)) AS longest_transaction
                 FROM pg_stat_activity WHERE datid = d.oid AND backend_type = 'client backend' AND pid <> pg_backend_pid()
             ) a ON true
             WHERE d.datname LIKE 'odoo\\_%'
             ORDER BY longest_statement DESC, longest_transaction DESC, size_bytes DESC, db_name",
        )
        .fetch_all(&self.admin(target))
        .await
    }

    /// How many databases named `odoo_…` there are, whoever made them.
    pub async fn count_databases(&self, target: &Target) -> sqlx::Result<i64> {
        sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'")
            .fetch_one(&self.admin(target))
            .await
    }
}
