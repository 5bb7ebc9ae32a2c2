//! Ends sessions of tenants that hold a server up (DBS-29): a tenant may lift its role's timeouts, but not these limits.

use std::time::Duration;

use super::{Target, Tenants};

/// How long a tenant's session may hold locks or a processor.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Waiting inside an open transaction.
    pub idle_in_transaction: Duration,
    /// Running one statement.
    pub statement: Duration,
}

impl Tenants {
    /// Ends the sessions beyond the limits; gives their number.
    pub async fn reap(&self, target: &Target, limits: SessionLimits) -> sqlx::Result<i64> {
        sqlx::query_scalar(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND usename LIKE 'odoo\\_%'
               AND ((state LIKE 'idle in transaction%' AND state_change < now() - make_interval(secs => $1))
                 OR (state = 'active' AND query_start < now() - make_interval(secs => $2)))",
        )
        .bind(limits.idle_in_transaction.as_secs_f64())
        .bind(limits.statement.as_secs_f64())
        .fetch_one(&self.admin(target))
        .await
    }
}
