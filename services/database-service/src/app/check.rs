//! Checks of servers: the first good one activates a pool (DBS-19, DBS-28), later ones keep its health
//! (DBS-17).

use time::OffsetDateTime;
use uuid::Uuid;

use super::App;
use crate::domain::checks::Check;
use crate::domain::pool::{HealthStatus, PoolEvent, PoolStatus};
use crate::domain::server::{Measured, Server};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::store::servers;
use crate::tenants::{ProbeResult, Tenants};

/// A check, and the row after it.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The row.
    pub server: Server,
    /// What was looked at.
    pub probe: ProbeResult,
    /// When.
    pub at: OffsetDateTime,
}

/// Which look it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Of a round, or asked for: a failure counts (DBS-17).
    Round,
    /// Between two rounds, at a server that should be well again: only good news counts, so that a restart
    /// makes no server unhealthy.
    Again,
}

impl App {
    /// Connects, writes and reads, then notes the result. Gives the row afterwards.
    pub async fn check(&self, id: Uuid) -> Result<Server, Error> {
        self.look(id, Look::Round).await
    }

    pub(super) async fn look(&self, id: Uuid, look: Look) -> Result<Server, Error> {
        Ok(self.check_closely(id, look).await?.server)
    }

    /// The same for an administrator (DBS-05): by id or name, with each part of the check.
    pub async fn check_now(&self, id_or_name: &str) -> Result<Checked, Error> {
        let (server, _) = self.pool(id_or_name).await?;
        if !server.status.wants_objects() {
            return Err(Error::InvalidState("the pool is being removed".into()));
        }
        self.check_closely(server.id, Look::Round).await
    }

    async fn check_closely(&self, id: Uuid, look: Look) -> Result<Checked, Error> {
        let mut connection = self.pool.acquire().await?;
        let server = servers::find(&mut connection, id).await?.ok_or(Error::NotFound("pool"))?;
        drop(connection);
        let target = self.target(&server).await;
        let mut probe = match &target {
            Ok(target) => Tenants::probe(target).await,
            Err(Error::Server { cause, .. }) => ProbeResult::unreached(&cause.to_string()),
            Err(_) => return Err(target.err().unwrap_or(Error::Conflict)),
        };
        // Rights of the whole server are set before the first tenant, and on servers of before by their next
        // round.
        let is_new = server.provisioned_at.is_none();
        if let (Ok(target), true, true) = (&target, probe.works(), is_new || look == Look::Round)
            && let Err(text) = self.tenants.prepare_server(target).await
        {
            if is_new {
                probe.took = None;
                probe.checks.push(Check { name: "rights", ok: false, detail: text });
            } else {
                tracing::warn!(
                    server.name = server.name,
                    error = text,
                    "rights of a server are tried again with the next round"
                );
            }
        }
        if let (Ok(target), true, Look::Round) = (&target, probe.works(), look)
            && let Err(error) = self.restore_logins(&server, target).await
        {
            tracing::warn!(
                server.name = server.name,
                error = %error,
                "log-ins of tenants are looked at again with the next round"
            );
        }
        let outcome = if probe.is_good() { "passed" } else { "failed" };
        self.metrics.checks.get_or_create(&Outcome { outcome }).inc();
        self.fail.at("check.before_note");
        let at = runtime::clock::now();
        let server = self.note_check(id, look, &probe, at).await?;
        Ok(Checked { server, probe, at })
    }

    async fn note_check(
        &self,
        id: Uuid,
        look: Look,
        probe: &ProbeResult,
        now: OffsetDateTime,
    ) -> Result<Server, Error> {
        let mut tx = self.pool.begin().await?;
        let mut server = servers::lock(&mut tx, id).await?.ok_or(Error::NotFound("pool"))?;
        if !server.status.wants_objects() {
            return Ok(server);
        }
        let before = server.clone();
        note(&mut server, look, probe, now)?;
        if server != before {
            server = servers::save(&mut tx, &server).await?;
        }
        self.fail.at("check.before_commit");
        tx.commit().await?;
        if server.status != before.status {
            tracing::info!(server.name = server.name, from = %before.status, to = %server.status, "server changed its state");
        }
        if server.health != before.health {
            tracing::info!(server.name = server.name, from = %before.health, to = %server.health, "server changed its health");
        }
        Ok(server)
    }

    /// A server that did not come up within its time is given up; it may still recover by a good check.
    pub async fn give_up(&self, id: Uuid) -> Result<(), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let Some(mut server) = servers::lock(&mut tx, id).await? else { return Ok(()) };
        if !server.status.is_in_the_making() {
            return Ok(());
        }
        server.apply(PoolEvent::GivenUp, now)?;
        debug_assert_eq!(server.status, PoolStatus::Error);
        server.booked_out = false;
        if server.last_error.is_empty() {
            "it did not come up in time".clone_into(&mut server.last_error);
        }
        servers::save(&mut tx, &server).await?;
        tx.commit().await?;
        tracing::error!(server.name = server.name, error = server.last_error, "server did not come up");
        Ok(())
    }
}

/// The check's effect on the row (DBS-16, DBS-17, DBS-19). Pure.
fn note(server: &mut Server, look: Look, probe: &ProbeResult, now: OffsetDateTime) -> Result<(), Error> {
    if probe.works() {
        server.postgres_version.clone_from(&probe.version);
        server.measured = Measured {
            disk: probe.disk,
            connections: probe.connections.0,
            max_connections: probe.connections.1,
            latency_ms: probe.took.and_then(|took| i32::try_from(took.as_millis()).ok()),
        };
    } else {
        server.measured.latency_ms = None;
    }
    if probe.is_good() {
        server.apply(PoolEvent::CheckPassed, now)?;
        server.failures = 0;
        server.health = HealthStatus::Healthy;
        server.last_error.clear();
        server.booked_out = false;
        server.provisioned_at = server.provisioned_at.or(Some(now));
        server.last_health_check = Some(now);
    } else if server.status.is_in_the_making() || look == Look::Again {
        // Nothing is wrong yet: it is tried again soon, and each try is no news.
        server.last_error = probe.error();
    } else {
        server.failures += 1;
        server.health = HealthStatus::after_failures(server.failures);
        server.last_error = probe.error();
        server.last_health_check = Some(now);
    }
    Ok(())
}
