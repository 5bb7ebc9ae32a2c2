//! Connections to the service's own database, its migrations, and what its errors mean. SQL itself lives in
//! the services' stores.

mod fault;
mod probe;

use std::time::Duration;

use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

pub use fault::{Fault, fault, fault_within, is_away, is_conflict, repeat_conflicts};
pub use probe::{Probe, clock_offset};

use crate::config::Postgres;

/// What every session of ours asks of the server. A client that is gone without a word (a dead node, a cut
/// network) is noticed within some 20 s instead of hours, so that its locks, among them those that say who
/// leads, are free again. A transaction that nobody works on ends.
const SESSION: [(&str, &str); 6] = [
    ("lock_timeout", "10s"),
    ("idle_in_transaction_session_timeout", "30s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "3"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "20s"),
];

/// Name of database and role that a service owns; the settings may say otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Owned {
    /// Database name.
    pub database: &'static str,
    /// Role name.
    pub role: &'static str,
}

/// How to connect. No query text is logged at `info`; slow statements are (over 1 s).
pub fn options(settings: &Postgres, owned: Owned, application: &str) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .host(&settings.postgres_host)
        .port(settings.postgres_port)
        .database(settings.postgres_db.as_deref().unwrap_or(owned.database))
        .username(settings.db_service_user.as_deref().unwrap_or(owned.role))
        .password(settings.db_service_password.expose_secret())
        .application_name(application)
        .options(SESSION)
}

/// A pool that connects when it is first used, so that a service starts (and stays alive, not ready) while
/// its database is away (REL-06).
pub fn pool(settings: &Postgres, owned: Owned, application: &str) -> PgPool {
    PgPoolOptions::new()
        .max_connections(settings.db_pool_size + settings.db_max_overflow)
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_mins(1))
        .max_lifetime(Duration::from_mins(30))
        .connect_lazy_with(options(settings, owned, application))
}

/// Applies the embedded migrations under sqlx's advisory lock. Waits up to 60 s for the database to come up.
///
/// A database that is newer than this release is no error: after a roll-back, or when an old pod starts again
/// during a roll-out, the older release runs on the newer schema, which only grows until nobody needs the old
/// one (expand, roll out, contract).
pub async fn migrate(
    settings: &Postgres,
    owned: Owned,
    application: &str,
    migrator: &Migrator,
) -> anyhow::Result<()> {
    use backon::{ConstantBuilder, Retryable as _};
    let options = options(settings, owned, application);
    let connect = || {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.clone())
    };
    let pool = connect
        .retry(ConstantBuilder::default().with_delay(Duration::from_secs(1)).with_max_times(60))
        .when(|error| !matches!(error, sqlx::Error::Database(_)))
        .await
        .context("cannot reach the database to migrate")?;
    tolerant(migrator).run(&pool).await.context("a migration failed")?;
    tracing::info!(migrations = migrator.iter().count(), "database is at the newest migration");
    pool.close().await;
    Ok(())
}

/// The same migrations, which do not mind those of a newer release.
fn tolerant(migrator: &Migrator) -> Migrator {
    let mut tolerant = Migrator::with_migrations(migrator.migrations.to_vec());
    tolerant.set_ignore_missing(true);
    tolerant
}

/// `SELECT 1` with a deadline, for readiness and `/health/database`; the time it took.
pub async fn ping(pool: &PgPool) -> anyhow::Result<Duration> {
    let start = std::time::Instant::now();
    tokio::time::timeout(Duration::from_secs(2), sqlx::query("SELECT 1").execute(pool))
        .await
        .context("the database did not answer within 2 s")??;
    Ok(start.elapsed())
}
