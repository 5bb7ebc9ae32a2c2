//! Ends sessions of tenants that hold a server up (DBS-29): a tenant may lift its role's timeouts, but not
//! these limits.

use std::time::Duration;

use sqlx::PgConnection;

use super::connections::Tenants;
use super::target::{Target, TenantError};

/// Keeps what the looks need: roles and databases with their indexes, locked as any reader locks them.
const KEEP: &str =
    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = '5s';
    SELECT count(*) FROM pg_authid; SELECT count(*) FROM pg_database";

/// Functions alone, no table: a look needs no lock that the session does not have. The smallest sessions of a
/// tenant are left to it.
const LOOK: &str = "
WITH held AS (SELECT pid, count(*) AS locks FROM pg_lock_status() GROUP BY pid), sessions AS (
    SELECT a.pid, a.xact_start,
        sum(held.locks) OVER (PARTITION BY a.usesysid ORDER BY held.locks NULLS FIRST, a.pid) AS together
    FROM pg_stat_get_activity(NULL) AS a LEFT JOIN held ON held.pid = a.pid
    WHERE a.backend_type = 'client backend' AND a.usesysid >= 16384
), room (locks) AS (
    SELECT current_setting('max_locks_per_transaction')::bigint * current_setting('max_connections')::bigint
)
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM sessions, room
WHERE together > room.locks * $1
    OR (pg_notification_queue_usage() >= $2 AND xact_start < clock_timestamp() - make_interval(secs => $3))";

/// What sessions hold for themselves, as the machine's kernel counts it; the smallest of a tenant are left to
/// it. A tenant may ask for any amount of memory for its sorts (`work_mem` is everybody's to set), and when the
/// pod has no more, all sessions of the server end with it. What parallel workers hold is their leader's.
const MEMORY: &str = "
WITH sessions AS (
    SELECT coalesce(leader_pid, pid) AS pid, usesysid, sum(coalesce(1024 * substring(
        pg_read_file('/proc/' || pid || '/status', 0, 8192, true)
            FROM 'RssAnon:\\s+(\\d+) kB')::bigint, 0))::bigint AS bytes
    FROM pg_stat_get_activity(NULL) WHERE backend_type IN ('client backend', 'parallel worker')
    GROUP BY coalesce(leader_pid, pid), usesysid
), sums AS (
    SELECT pid, usesysid, sum(bytes) OVER () AS all_bytes,
        sum(bytes) OVER (PARTITION BY usesysid ORDER BY bytes, pid) AS together
    FROM sessions
)
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM sums
WHERE usesysid >= 16384 AND all_bytes > $1 AND together > $2";

/// What the sessions of a server may hold for themselves.
#[derive(Debug, Clone, Copy)]
pub struct MemoryLimits {
    /// All of them in bytes: above it the server's memory is nearly gone.
    pub all: i64,
    /// Those of one tenant then.
    pub each: i64,
}

/// What of the server's memory and disk one tenant may take.
#[derive(Debug, Clone, Copy)]
pub struct SharedLimits {
    /// Part of the table of locks, with all sessions of the tenant.
    pub locks: f64,
    /// From this part of the notification queue on, whoever is long in a transaction is ended: it may be the
    /// one that the queue waits for.
    pub queue: f64,
    /// How long that is.
    pub transaction: Duration,
    /// Memory of the sessions themselves; absent where it is not known how much there is.
    pub memory: Option<MemoryLimits>,
}

/// A session of the administrator that stays, for a server whose shared memory is full: nobody logs in there
/// any more.
#[derive(Debug)]
pub struct Guard(PgConnection);

impl Guard {
    /// Ends the sessions beyond the limits; gives their number. After a failure the guard is of no use any
    /// more.
    pub async fn look(&mut self, limits: SharedLimits) -> sqlx::Result<i64> {
        // Within a transaction the activity of its first look is shown for ever.
        sqlx::query("SELECT pg_stat_clear_snapshot()").execute(&mut self.0).await?;
        let ended: i64 = sqlx::query_scalar(LOOK)
            .bind(limits.locks)
            .bind(limits.queue)
            .bind(limits.transaction.as_secs_f64())
            .fetch_one(&mut self.0)
            .await?;
        match limits.memory {
            Some(memory) => Ok(ended + self.end_hoarders(memory).await?),
            None => Ok(ended),
        }
    }

    /// A session that ends while its memory is read is an error of the statement, and none of the guard.
    async fn end_hoarders(&mut self, limits: MemoryLimits) -> sqlx::Result<i64> {
        sqlx::raw_sql("SAVEPOINT memory").execute(&mut self.0).await?;
        let looked =
            sqlx::query_scalar(MEMORY).bind(limits.all).bind(limits.each).fetch_one(&mut self.0).await;
        match looked {
            Ok(ended) => {
                sqlx::raw_sql("RELEASE SAVEPOINT memory").execute(&mut self.0).await?;
                Ok(ended)
            }
            Err(error) if error.as_database_error().is_some() => {
                tracing::debug!(error = %error, "the memory of sessions cannot be told");
                sqlx::raw_sql("ROLLBACK TO SAVEPOINT memory; RELEASE SAVEPOINT memory")
                    .execute(&mut self.0)
                    .await?;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }
}

/// How long a tenant's session may hold locks or a processor.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Waiting inside an open transaction.
    pub idle_in_transaction: Duration,
    /// Running one statement.
    pub statement: Duration,
}

impl Tenants {
    /// A guard. It stays in one transaction, which reads nothing while it waits and holds up no vacuum.
    pub async fn guard(target: &Target) -> Result<Guard, TenantError> {
        let mut connection = target.connect("postgres").await?;
        sqlx::raw_sql(KEEP).execute(&mut connection).await?;
        Ok(Guard(connection))
    }

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
