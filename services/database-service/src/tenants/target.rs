//! A server as it is reached: address, role, trust, and how every session there starts.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Longest wait for a session.
const CONNECT: Duration = Duration::from_secs(10);

/// What a kept connection was made for.
pub(crate) type Fingerprint = (String, u16, String, Option<String>);

/// How every session starts, whatever a database or a role was given: what a client asks for at its start
/// goes before `ALTER DATABASE … SET` and
/// `ALTER ROLE … SET`. Names are looked up in the catalogue alone, so that no function, operator, cast or
/// table of a tenant stands in for
/// PostgreSQL's own; nothing changes the role, the kind of transaction or the meaning of a literal.
const FIXED: [(&str, &str); 13] = [
    ("search_path", "pg_catalog,pg_temp"),
    ("role", "none"),
    ("local_preload_libraries", ""),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("standard_conforming_strings", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("lock_timeout", "10s"),
    ("statement_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "60s"),
    ("idle_session_timeout", "0"),
];

/// The same, for which PostgreSQL wants an administrator.
const ADMINISTRATORS: [(&str, &str); 2] =
    [("session_preload_libraries", ""), ("session_replication_role", "origin")];

/// Whose session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// The administrator's.
    Administrator,
    /// A tenant's, which may not set what an administrator may.
    Tenant,
}

/// A server as its administrator reaches it, or a tenant.
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
    /// Role.
    pub user: String,
    /// Whose it is.
    pub session: As,
    /// Its password.
    pub password: SecretString,
    /// Changes with the password.
    pub secret_hash: String,
    /// Authorities that its certificate is checked against, in PEM (DBS-35). Absent: a server from before
    /// TLS, which takes what it gets.
    pub authorities: Option<String>,
}

impl Target {
    pub(crate) fn options(&self, database: &str) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .password(self.password.expose_secret())
            .database(database)
            .application_name("database-service")
            .options(FIXED);
        let options = match self.session {
            As::Administrator => options.options(ADMINISTRATORS),
            As::Tenant => options,
        };
        match &self.authorities {
            Some(pem) => options.ssl_mode(self.ssl_mode()).ssl_root_cert_from_pem(pem.clone().into_bytes()),
            None => options.ssl_mode(PgSslMode::Prefer),
        }
    }

    /// In full by name. By an address, which no certificate names (a cluster without DNS for services), the
    /// authority alone is checked; the name is looked at by [`super::Tenants::served`].
    fn ssl_mode(&self) -> PgSslMode {
        if self.host.parse::<IpAddr>().is_ok() { PgSslMode::VerifyCa } else { PgSslMode::VerifyFull }
    }

    /// A session of its own, outside of the kept connections: in another database, or with other settings.
    pub(crate) async fn connect(&self, database: &str) -> Result<PgConnection, TenantError> {
        Ok(tokio::time::timeout(CONNECT, PgConnection::connect_with(&self.options(database)))
            .await
            .map_err(|_| sqlx::Error::PoolTimedOut)??)
    }

    /// The same server as a tenant reaches it.
    #[must_use]
    pub fn as_tenant(&self, role: &str, password: SecretString) -> Self {
        Self { user: role.to_owned(), password, session: As::Tenant, ..self.clone() }
    }

    /// A pool made for one address, password and trust is of no use for another.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
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
