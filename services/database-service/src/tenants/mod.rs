//! The tenants' servers: bounded connections as administrator, and all SQL that runs there. Never touches the service's own database.

mod copy;
mod privacy;
mod probe;
mod provision;
mod reaper;
mod refill;
mod rotate;
mod served;
mod statement;
mod template;
mod trace;
mod usage;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use crate::failpoint::FailPoint;

pub use copy::Content;
pub use probe::ProbeResult;
pub use provision::Tenant;
pub use reaper::SessionLimits;
pub use refill::Copy;
pub use served::Served;
pub use usage::Usage;

/// Connections to one server at most; its `superuser_reserved_connections` is larger.
const CONNECTIONS: u32 = 6;

/// Longest wait for a session.
const CONNECT: Duration = Duration::from_secs(10);

/// A server as its administrator reaches it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Id.
    pub id: Uuid,
    /// Name of the pool.
    pub name: String,
    /// Host for this service.
    pub host: String,
    /// Port for this service.
    pub port: u16,
    /// Administrator's role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// Changes with the password.
    pub secret_hash: String,
    /// Authorities that its certificate is checked against, in PEM (DBS-35). Absent: a server from before TLS, which takes what it gets.
    pub authorities: Option<String>,
}

impl Target {
    fn options(&self, database: &str) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .password(self.password.expose_secret())
            .database(database)
            .application_name("database-service")
            .options([
                ("lock_timeout", "10s"),
                ("statement_timeout", "60s"),
                ("idle_in_transaction_session_timeout", "60s"),
            ]);
        match &self.authorities {
            Some(pem) => options.ssl_mode(self.ssl_mode()).ssl_root_cert_from_pem(pem.clone().into_bytes()),
            None => options.ssl_mode(PgSslMode::Prefer),
        }
    }

    /// In full by name. By an address, which no certificate names (a cluster without DNS for services), the authority alone is checked; the name is
    /// looked at by [`Tenants::served`].
    fn ssl_mode(&self) -> PgSslMode {
        if self.host.parse::<IpAddr>().is_ok() { PgSslMode::VerifyCa } else { PgSslMode::VerifyFull }
    }

    /// A session of its own, outside of the kept connections: in another database, or with other settings.
    async fn connect(&self, database: &str) -> Result<PgConnection, TenantError> {
        Ok(tokio::time::timeout(CONNECT, PgConnection::connect_with(&self.options(database)))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??)
    }

    /// A pool made for one address, password and trust is of no use for another.
    fn fingerprint(&self) -> Fingerprint {
        (self.host.clone(), self.port, self.secret_hash.clone(), self.authorities.clone())
    }
}

/// Why work on a tenants' server did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// A role or database of that name is there and not ours (DBS-30).
    #[error("{0} exists on the server and is not ours")]
    NameTaken(String),
    /// It cannot do what is asked.
    #[error("the server cannot do this: {0}")]
    Unsuited(String),
    /// The server does not answer or refused.
    #[error(transparent)]
    Server(#[from] sqlx::Error),
    /// Our own mistake.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// Nothing more can be written on its volume.
pub fn is_disk_full(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("53100"))
}

type Fingerprint = (String, u16, String, Option<String>);
type Cached = (Fingerprint, PgPool);

/// Connections to all servers, kept for a minute of idleness.
#[derive(Debug, Default)]
pub struct Tenants {
    pools: Mutex<HashMap<Uuid, Cached>>,
    fail: FailPoint,
}

impl Tenants {
    /// No connection yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, dying at a place.
    pub fn dying_at(fail: FailPoint) -> Self {
        Self { fail, ..Self::default() }
    }

    /// Connections of the administrator to database `postgres` of a server. Connects when first used.
    fn admin(&self, target: &Target) -> PgPool {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let fingerprint = target.fingerprint();
        if let Some((known, pool)) = pools.get(&target.id)
            && *known == fingerprint
        {
            return pool.clone();
        }
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            // Callers are bounded before they come here: a long wait only means that the server is away.
            .acquire_timeout(Duration::from_secs(4))
            .idle_timeout(Duration::from_mins(1))
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(target.options("postgres"));
        pools.insert(target.id, (fingerprint, pool.clone()));
        pool
    }

    /// Drops the connections to a server that is gone.
    pub fn forget(&self, server: Uuid) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).remove(&server);
    }
}
