//! Certificates of the tenants' servers (DBS-35): made with the server, renewed by the leader, and looked at
//! where they are served.
//!
//! A renewal is level-triggered: the row says what a server shall serve, the worker brings it into the
//! Secret, the node into the pod's files. Until the server is seen to serve it, it is told to read its files
//! again. Both certificates are trusted meanwhile, so that no connection is lost.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::App;
use super::remote::bounded;
use crate::certificates::{self, Authority};
use crate::domain::server::Server;
use crate::error::Error;
use crate::store::certificates as store;
use crate::store::servers;
use crate::tenants::{Served, Tenants};

/// A server that serves what it shall is looked at again after this.
const LOOK_AGAIN: Duration = Duration::hours(1);

/// Certificate, private key and trusted authorities of a server, all in PEM.
#[derive(Debug, Clone)]
pub struct Material {
    /// The server's certificate.
    pub certificate: String,
    /// Its key.
    pub key: secrecy::SecretString,
    /// What it can be checked against.
    pub authorities: String,
    /// SHA-256 of the certificate in hexadecimal.
    pub fingerprint: String,
}

impl App {
    /// Gives a server its first or next certificate. A server that is not there yet is insisted on from its
    /// first connection.
    pub(super) async fn issue_certificate(
        &self,
        connection: &mut PgConnection,
        server: &Server,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let authority = self.signing_authority(connection, now).await?;
        let names = certificates::names(&server.name, &self.settings.platform_namespace);
        let made = certificates::server(&authority, &names, now)?;
        let sealed = self.vault.seal(server.id, &made.key)?;
        let is_new = server.provisioned_at.is_none();
        store::put_server(connection, server.id, authority.id, &made, &sealed, is_new).await?;
        tracing::info!(server.name = server.name, not_after = %made.not_after, "certificate issued");
        Ok(())
    }

    /// The youngest authority; makes one when there is none or its time is near.
    async fn signing_authority(
        &self,
        connection: &mut PgConnection,
        now: OffsetDateTime,
    ) -> Result<Authority, Error> {
        store::lock_authorities(connection).await?;
        if let Some(row) = store::youngest_authority(connection).await?
            && !certificates::authority_is_due(row.not_after, now)
        {
            return Ok(Authority {
                id: row.id,
                key: self.vault.open(row.id, &row.sealed)?,
                certificate: row.certificate,
                not_before: row.not_before,
                not_after: row.not_after,
            });
        }
        let made = certificates::authority(now)?;
        store::put_authority(connection, &made, &self.vault.seal(made.id, &made.key)?).await?;
        tracing::info!(authority.id = %made.id, not_after = %made.not_after, "certificate authority made");
        Ok(made)
    }

    /// What the pod of a server needs for TLS; nothing for one that has no certificate yet.
    pub(super) async fn certificate_material(
        &self,
        connection: &mut PgConnection,
        server: Uuid,
    ) -> Result<Option<Material>, Error> {
        let Some(kept) = store::of_server(connection, server).await? else { return Ok(None) };
        let authorities = store::trust(connection, server, runtime::clock::now()).await?.authorities;
        let key = self.vault.open(server, &kept.sealed)?;
        Ok(Some(Material { certificate: kept.certificate, key, authorities, fingerprint: kept.fingerprint }))
    }

    /// The leader's part: certificates that are due, and servers that do not serve what they shall. What
    /// fails for one server is tried again with the next sweep and keeps no other work waiting.
    pub async fn sweep_certificates(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let due = store::due(&mut connection, certificates::due_before(now)).await?;
        drop(connection);
        for id in due {
            if let Err(error) = self.renew_certificate(id, now).await {
                tracing::error!(server.id = %id, error = %error, "a certificate is not renewed");
            }
        }
        let mut connection = self.pool.acquire().await?;
        let behind = store::to_look_at(&mut connection, now - LOOK_AGAIN).await?;
        drop(connection);
        for id in behind {
            if let Err(error) = bounded(Box::pin(self.look_at_certificate(id, now))).await {
                tracing::warn!(server.id = %id, error = %error, "a server's certificate could not be looked at");
            }
        }
        let mut connection = self.pool.acquire().await?;
        let wanted = store::wanted(&mut connection).await?;
        let managed = servers::managed(&mut connection).await?;
        drop(connection);
        self.metrics.show_certificates(&managed, &wanted);
        Ok(())
    }

    /// The next certificate of a server, and word to the worker.
    async fn renew_certificate(&self, id: Uuid, now: OffsetDateTime) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        let Some(server) = servers::lock(&mut tx, id).await?.filter(|server| server.status.wants_objects())
        else {
            return Ok(());
        };
        self.issue_certificate(&mut tx, &server, now).await?;
        let saved = servers::save(&mut tx, &server).await?;
        servers::request_objects(&mut tx, &saved).await?;
        self.fail.at("certificate.before_commit");
        tx.commit().await?;
        Ok(())
    }

    /// Looks at what a server serves; tells it to read its files when that is something else than it shall.
    async fn look_at_certificate(&self, id: Uuid, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let server = servers::find(&mut connection, id).await?.ok_or(Error::NotFound("pool"))?;
        let Some(wanted) = store::of_server(&mut connection, id).await? else { return Ok(()) };
        let authorities = store::trust(&mut connection, id, now).await?.authorities;
        drop(connection);
        let target = self.target(&server).await?;
        let name = certificates::full_name(&server.name, &self.settings.platform_namespace);
        let served = Tenants::served(&target, &name, &authorities).await;
        let served = served.map_err(|error| super::server_error(&server.name, error))?;
        let mut connection = self.pool.acquire().await?;
        store::saw(&mut connection, id, served.fingerprint(), now).await?;
        drop(connection);
        if let Served::Refused(why) = &served {
            tracing::error!(
                server.name = server.name,
                why,
                "the server serves a certificate that is not its own"
            );
        }
        if served.fingerprint() != wanted.fingerprint {
            tracing::info!(server.name = server.name, "the server is told to read its certificate again");
            let told = self.tenants.reload(&target).await;
            told.map_err(|error| super::server_error(&server.name, error.into()))?;
        }
        Ok(())
    }
}
