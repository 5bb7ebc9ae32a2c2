//! Use cases, one a file: each loads, decides by the domain, saves and announces in one transaction.

pub mod admin;
pub mod allocate;
pub mod background;
pub mod certificates;
pub mod check;
pub mod cleanup;
pub mod credentials;
pub mod data_key;
pub mod dedicated;
mod growth;
mod logins;
pub mod moves;
pub mod pool_password;
pub mod pool_work;
pub mod pools;
pub mod release;
mod remote;
pub mod rotations;
pub mod stats;
pub mod tasks;
mod usable;
mod work;

use self::remote::Remote;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::failpoint::FailPoint;
use sqlx::PgPool;
use sqlx::error::DatabaseError;
use uuid::Uuid;

use crate::domain::names::ExternalId;
use crate::domain::server::{Resources, Server};
use crate::error::Error;
use crate::failpoint;
use crate::metrics::ServiceMetrics;
use crate::secrets::Vault;
use crate::store::{self};
use crate::tenants::{As, Target, TenantError, Tenants};

/// What ordered pools are made of, and how tenants are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Slots of a shared pool.
    pub max_instances: i32,
    /// Free slots below which a pool is ordered.
    pub min_free: i64,
    /// Image of the pods.
    pub image: String,
    /// Requests and limits of the pods.
    pub resources: Resources,
    /// Connections that a shared server has for each slot.
    pub connections_per_tenant: i64,
    /// Days that a softly released database is kept.
    pub retention_days: i64,
    /// Time between two checks of a pool.
    pub health_interval: Duration,
    /// Kubernetes namespace of the servers.
    pub platform_namespace: String,
    /// Kubernetes namespace of the instances, where the Secrets with their passwords are.
    pub instances_namespace: String,
}

/// What use cases work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct App {
    /// The service's own database.
    pub pool: PgPool,
    /// Encryption at rest.
    pub vault: Arc<Vault>,
    /// The tenants' servers.
    pub tenants: Arc<Tenants>,
    /// Settings.
    pub settings: Arc<Settings>,
    /// Counters.
    pub metrics: ServiceMetrics,
    /// Where a test lets the process die.
    pub fail: FailPoint,
    /// Work on tenants' servers at once.
    remote: Arc<Remote>,
    /// Connections to the own database for the locks of such work alone.
    locks: PgPool,
    /// Moves that this process copies tables of, or compares, now.
    at_moves: Arc<Mutex<HashSet<Uuid>>>,
}

impl App {
    /// All parts together. At tenants' servers half as many pieces of work go on as there are own connections.
    pub fn new(pool: &PgPool, vault: Vault, settings: Settings, metrics: ServiceMetrics) -> Self {
        let connections = usize::try_from(pool.options().get_max_connections()).unwrap_or(usize::MAX);
        let pieces = connections / 2;
        Self {
            pool: pool.clone(),
            vault: Arc::new(vault),
            tenants: Arc::new(Tenants::new()),
            settings: Arc::new(settings),
            metrics,
            fail: failpoint::NONE,
            remote: Arc::new(Remote::new(pieces)),
            locks: remote::locks(pool, pieces),
            at_moves: Arc::default(),
        }
    }

    /// The same, dying at a place.
    #[must_use]
    pub fn dying_at(mut self, fail: FailPoint) -> Self {
        self.tenants = Arc::new(Tenants::dying_at(fail.clone()));
        self.fail = fail;
        self
    }

    /// The server as its administrator reaches it. Asks the server itself while its password changes, so it
    /// takes no connection of the caller's.
    async fn target(&self, server: &Server) -> Result<Target, Error> {
        if server.platform_host.is_empty() {
            return Err(server_error(&server.name, anyhow::anyhow!("its address is not known yet")));
        }
        let port = port_of(&server.name, server.platform_port)?;
        let mut connection = self.pool.acquire().await?;
        let (sealed, secret_hash) = store::secrets::server(&mut connection, server.id)
            .await?
            .ok_or_else(|| Error::Internal(anyhow::anyhow!("{} has no secret", server.name)))?;
        let next = store::secrets::next_server(&mut connection, server.id).await?;
        let trust = store::certificates::trust(&mut connection, server.id, runtime::clock::now()).await?;
        drop(connection);
        let current = Target {
            id: server.id,
            name: server.name.clone(),
            host: server.platform_host.clone(),
            port,
            user: server.admin_user.clone(),
            session: As::Administrator,
            password: self.vault.open(server.id, &sealed)?,
            secret_hash,
            authorities: trust.enforced.then_some(trust.authorities),
        };
        // Its password is being changed: whichever the server has.
        if let Some((sealed, secret_hash)) = next {
            let password = self.vault.open(server.id, &sealed)?;
            let next = Target { password, secret_hash, ..current.clone() };
            if Tenants::signs_in(&next).await {
                return Ok(next);
            }
        }
        Ok(current)
    }
}

/// An id that a caller sent in `field`.
pub fn external_id(field: &'static str, text: &str) -> Result<ExternalId, Error> {
    let message = "must be a UUID or 1 to 63 characters of A-Z, a-z, 0-9, _ and -";
    ExternalId::try_new(text).ok_or(Error::Invalid { field, message })
}

/// A port that is none is not guessed: whoever listens on the usual one might be another server.
fn port_of(server: &str, port: i32) -> Result<u16, Error> {
    let known = u16::try_from(port).ok().filter(|port| *port != 0);
    known.ok_or_else(|| server_error(server, anyhow::anyhow!("its port {port} is no port")))
}

fn server_error(server: &str, cause: anyhow::Error) -> Error {
    Error::Server { server: server.to_owned(), cause }
}

/// The server is there and works, and said no: not a log-in that failed, a lock that was not given, or
/// resources or a disk that gave out.
fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code).unwrap_or_default();
    let of_the_server = ["08", "28", "53", "57", "58", "XX"];
    !code.is_empty() && code != "55P03" && !of_the_server.iter().any(|class| code.starts_with(class))
}

fn tenant_error(server: &str, error: TenantError) -> Error {
    match error {
        TenantError::NameTaken(name) => Error::NameTaken(name),
        TenantError::Unsuited(why) => Error::InvalidState([server, " cannot do this: ", &why].concat()),
        TenantError::Server(cause) if crate::tenants::is_disk_full(&cause) => {
            Error::VolumeFull(server.to_owned())
        }
        TenantError::Server(cause) if is_refusal(&cause) => {
            Error::Refused { server: server.to_owned(), cause }
        }
        TenantError::Server(cause) => server_error(server, cause.into()),
        TenantError::Internal(cause) => Error::Internal(cause),
    }
}
