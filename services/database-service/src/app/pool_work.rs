//! What the worker builds for servers, and what it reports of them (DBS-26, DBS-27, DBS-14).

use secrecy::SecretString;
use time::OffsetDateTime;
use uuid::Uuid;

use super::App;
use super::certificates::Material;
use crate::domain::pool::{HealthStatus, Observed, PoolEvent, PoolStatus};
use crate::domain::server::Server;
use crate::domain::{VOLUME_KEPT_DAYS, tuning};
use crate::error::Error;
use crate::store;
use crate::store::servers;

/// Wanted objects of a server.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The row.
    pub server: Server,
    /// Lines of `postgresql.conf`.
    pub config: String,
    /// Changes with the administrator's password and with the certificate.
    pub secret_hash: String,
}

/// What the Secret of a server holds.
#[derive(Debug, Clone)]
pub struct PoolSecret {
    /// The administrator's role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// Names this content.
    pub hash: String,
    /// For TLS.
    pub tls: Option<Material>,
}

/// Where a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// For this service.
    pub platform: (String, i32),
    /// For tenants' pods.
    pub tenant: (String, i32),
}

/// What the worker saw.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which server.
    pub server: Uuid,
    /// State of its objects.
    pub observed: Observed,
    /// Where it is reached, when known.
    pub address: Option<Address>,
    /// Node of the pod.
    pub node: String,
    /// Safe text.
    pub message: String,
}

impl App {
    /// All servers that should have objects, those that should lose them, and those whose volumes were kept
    /// long enough.
    pub async fn pool_specs(&self) -> Result<Vec<Spec>, Error> {
        let mut connection = self.pool.acquire().await?;
        let mut servers = servers::managed(&mut connection).await?;
        let kept_since = runtime::clock::now() - time::Duration::days(VOLUME_KEPT_DAYS);
        servers.extend(servers::with_old_volumes(&mut connection, kept_since).await?);
        let mut hashes = store::secrets::server_hashes(&mut connection).await?;
        let fingerprints = store::certificates::fingerprints(&mut connection).await?;
        let per_tenant = self.settings.connections_per_tenant;
        let mut specs = Vec::with_capacity(servers.len());
        for server in servers {
            let (hash, memory) =
                (hashes.remove(&server.id), tuning::memory_bytes(&server.resources.memory_limit));
            // One that cannot be told keeps its objects, and keeps no other from having theirs.
            let (Some(hash), Some(memory)) = (hash, memory) else {
                tracing::error!(
                    server.name = server.name,
                    memory_limit = server.resources.memory_limit,
                    "a server has no secret, or a memory limit that is no quantity; its objects stay as they are"
                );
                continue;
            };
            let secret_hash = content_hash(&hash, fingerprints.get(&server.id).map(String::as_str));
            let config = tuning::postgresql_conf(server.server_type, server.fill.max, per_tenant, memory);
            specs.push(Spec { server, config, secret_hash });
        }
        Ok(specs)
    }

    /// What goes into the server's Secret.
    pub async fn pool_secret(&self, id: Uuid) -> Result<PoolSecret, Error> {
        let mut connection = self.pool.acquire().await?;
        let server = servers::find(&mut connection, id).await?.ok_or(Error::NotFound("pool"))?;
        let (sealed, hash) =
            store::secrets::server(&mut connection, id).await?.ok_or(Error::NotFound("secret"))?;
        let tls = self.certificate_material(&mut connection, id).await?;
        Ok(PoolSecret {
            user: server.admin_user,
            password: self.vault.open(id, &sealed)?,
            hash: content_hash(&hash, tls.as_ref().map(|tls| tls.fingerprint.as_str())),
            tls,
        })
    }

    /// Takes a report in. The same report twice writes nothing the second time.
    pub async fn report(&self, report: &Report) -> Result<PoolStatus, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let before = servers::lock(&mut tx, report.server).await?.ok_or(Error::NotFound("pool"))?;
        let mut server = before.clone();
        take_in(&mut server, report, now)?;
        // A ready pod is news for the activation loop even when the row knows it already: the last try may
        // have failed.
        let wake = matches!(server.status, PoolStatus::Initializing | PoolStatus::Error)
            || server.health != HealthStatus::Healthy
            || server.observed != before.observed;
        if server != before {
            servers::save(&mut tx, &server).await?;
        }
        if wake && server.status.wants_objects() {
            servers::wake_leader(&mut tx).await?;
        }
        self.fail.at("report.before_commit");
        tx.commit().await?;
        if server.status == PoolStatus::Deprovisioned {
            self.tenants.forget(server.id);
            self.remote.forget(server.id);
        }
        Ok(server.status)
    }

    /// The volume of a removed server is gone: nothing is left of it.
    pub async fn report_no_volume(&self, id: Uuid) -> Result<PoolStatus, Error> {
        let mut tx = self.pool.begin().await?;
        let server = servers::lock(&mut tx, id).await?.ok_or(Error::NotFound("pool"))?;
        if servers::volume_removed(&mut tx, id, runtime::clock::now()).await? {
            tracing::info!(server = server.name, "the volume of a removed server is gone");
        }
        tx.commit().await?;
        Ok(server.status)
    }

    /// Notes when the worker last reached the cluster; a time in the future counts as now.
    pub async fn cluster_contact(&self, at: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        store::contact::note(&mut connection, at.min(runtime::clock::now())).await?;
        Ok(())
    }
}

/// Names the content of a Secret: password and certificate.
fn content_hash(password: &str, certificate: Option<&str>) -> String {
    match certificate.and_then(|fingerprint| fingerprint.get(..16)) {
        Some(certificate) => [password, "-", certificate].concat(),
        None => password.to_owned(),
    }
}

/// The report's effect on the row. Health moves by this service's own checks; a pod that is not ready only
/// takes a healthy server out of selection until the next check.
fn take_in(server: &mut Server, report: &Report, now: OffsetDateTime) -> Result<(), Error> {
    // Objects that were applied again do not make a ready pod unready.
    if !(report.observed == Observed::Applied && server.observed == Observed::Ready) {
        server.observed = report.observed;
    }
    if !report.node.is_empty() {
        server.node.clone_from(&report.node);
    }
    if let Some(Address { platform, tenant }) = &report.address {
        (server.platform_host, server.platform_port) = platform.clone();
        (server.host, server.port) = tenant.clone();
    }
    match report.observed {
        Observed::Nothing => {}
        Observed::Applied | Observed::Ready => server.apply(PoolEvent::ObjectsMade, now)?,
        Observed::NotReady | Observed::Failed => {
            if !report.message.is_empty() {
                server.last_error.clone_from(&report.message);
            }
            if server.health == HealthStatus::Healthy {
                server.health = HealthStatus::Degraded;
            }
        }
        Observed::Removed => match server.status {
            PoolStatus::Deprovisioning | PoolStatus::Deprovisioned => {
                server.apply(PoolEvent::ObjectsGone, now)?;
            }
            _ if server.health == HealthStatus::Healthy => server.health = HealthStatus::Degraded,
            _ => {}
        },
    }
    Ok(())
}
