//! Checks of servers: the first good one activates a pool (DBS-19, DBS-28), later ones keep its health (DBS-17).

use uuid::Uuid;

use super::App;
use crate::domain::pool::{HealthStatus, PoolEvent, PoolStatus};
use crate::error::Error;
use crate::metrics::Outcome;
use crate::store::servers::{self, Server};
use crate::tenants::{ProbeResult, Tenants};

impl App {
    /// Connects, writes and reads, then notes the result. Gives the row afterwards.
    pub async fn check(&self, id: Uuid) -> Result<Server, Error> {
        let mut conn = self.pool.acquire().await?;
        let server = servers::find(&mut conn, id).await?.ok_or(Error::NotFound("pool"))?;
        let target = self.target(&mut conn, &server).await;
        drop(conn);
        let result = match target {
            Ok(target) => match Tenants::probe(&target).await {
                // Rights of the whole server are set once, before the first tenant.
                Ok(probe) if server.provisioned_at.is_none() => {
                    self.tenants.prepare_server(&target).await.map(|()| probe)
                }
                outcome => outcome,
            },
            Err(Error::Server { cause, .. }) => Err(cause.to_string()),
            Err(error) => return Err(error),
        };
        let outcome = if result.is_ok() { "passed" } else { "failed" };
        self.metrics.checks.get_or_create(&Outcome { outcome }).inc();
        self.note_check(id, result).await
    }

    async fn note_check(&self, id: Uuid, result: Result<ProbeResult, String>) -> Result<Server, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let mut server = servers::lock(&mut tx, id).await?.ok_or(Error::NotFound("pool"))?;
        if !server.status.wants_objects() {
            return Ok(server);
        }
        let before = server.clone();
        match result {
            Ok(probe) => {
                server.apply(PoolEvent::CheckPassed, now)?;
                server.failures = 0;
                server.health = HealthStatus::Healthy;
                server.postgres_version = probe.version;
                server.last_error.clear();
                server.booked_out = false;
                server.provisioned_at = server.provisioned_at.or(Some(now));
                server.last_health_check = Some(now);
            }
            // While it is in the making nothing is wrong yet: it is tried again soon, and each try is no news.
            Err(text) if server.status.is_in_the_making() => server.last_error = text,
            Err(text) => {
                server.failures += 1;
                server.health = HealthStatus::after_failures(server.failures);
                server.last_error = text;
                server.last_health_check = Some(now);
            }
        }
        if server != before {
            server = servers::save(&mut tx, &server).await?;
        }
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
