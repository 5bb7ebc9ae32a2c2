//! Giving a database up, softly or for good, and taking it back within the retention (DBS-11).

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::pools::order_removal;
use super::{App, tenant_error};
use crate::domain::allocation::Allocation;
use crate::domain::names::ExternalId;
use crate::domain::pool::{PoolEvent, PoolStatus, ServerType};
use crate::domain::server::Server;
use crate::domain::{AllocationState, ReleaseMode};
use crate::error::Error;
use crate::store::allocations;
use crate::store::servers;
use crate::store::{self, moves, rotations, waiting};

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Released {
    /// released, purged, or absent when there was nothing.
    pub status: &'static str,
    /// End of the retention.
    pub purge_after: Option<OffsetDateTime>,
}

impl App {
    /// Idempotent; an unknown instance is a success.
    pub async fn release(&self, instance: &ExternalId, mode: ReleaseMode) -> Result<Released, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        waiting::remove(&mut tx, instance).await?;
        let known = allocations::find_by_instance(&mut tx, instance).await?;
        let Some(allocation) = known else {
            self.forgo_dedicated(&mut tx, instance, now).await?;
            tx.commit().await?;
            return Ok(Released { status: "absent", purge_after: None });
        };
        if allocation.state == AllocationState::Purged {
            self.forgo_dedicated(&mut tx, instance, now).await?;
            tx.commit().await?;
            return Ok(Released { status: "purged", purge_after: None });
        }
        // A move that was on its way has lost its aim; the sweep drops its copy if we cannot now.
        let given_up = moves::give_up_all(&mut tx, allocation.id, now).await?;
        match mode {
            ReleaseMode::Soft => {
                let end = now + Duration::days(self.settings.retention_days);
                let changed = allocations::mark_released(&mut tx, allocation.id, end, now).await?;
                self.fail.at("release.before_commit");
                tx.commit().await?;
                self.clean_up_moves(given_up).await;
                let purge_after = if changed { Some(end) } else { allocation.purge_after };
                Ok(Released { status: "released", purge_after })
            }
            ReleaseMode::Purge => {
                allocations::mark_purging(&mut tx, allocation.id, now).await?;
                tx.commit().await?;
                self.fail.at("purge.marked");
                self.clean_up_moves(given_up).await;
                self.purge(allocation.id).await?;
                Ok(Released { status: "purged", purge_after: None })
            }
        }
    }

    /// Drops role and database of an allocation that is marked for it, then gives the slot back. Repeating it
    /// changes nothing.
    pub async fn purge(&self, id: Uuid) -> Result<(), Error> {
        let Some(marked) = self.to_be_purged(id).await? else { return Ok(()) };
        // A copy, or the source of a move, may be kept somewhere: it goes first, so that nothing is forgotten
        // there. No move begins any more, and where the database is does not change.
        self.drop_leftovers(id).await?;
        let mut work = self.work(marked.db_server_id, id).await?;
        let Some(allocation) = self.to_be_purged(id).await? else { return Ok(()) };
        let server = servers::find(&mut *self.pool.acquire().await?, allocation.db_server_id).await?;
        let server = server.ok_or(Error::Conflict)?;
        // A server that never had an address never had a tenant's database either.
        if !server.platform_host.is_empty() {
            let target = self.target(&server).await?;
            if let Err(error) = self.tenants.drop_tenant(&target, id, &allocation.db_name).await {
                let error = tenant_error(&server.name, error);
                let mut tx = work.end(self).await?;
                allocations::note_failure(&mut tx, id, &error.to_string(), runtime::clock::now()).await?;
                tx.commit().await?;
                return Err(error);
            }
        }
        let now = runtime::clock::now();
        let mut tx = work.end(self).await?;
        let mut server = servers::lock(&mut tx, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        if !allocations::mark_purged(&mut tx, id, now).await? {
            return Err(Error::Conflict);
        }
        store::secrets::delete_allocation(&mut tx, id).await?;
        rotations::end_all(&mut tx, id, now).await?;
        server.fill.current -= 1;
        server.apply(PoolEvent::FillChanged, now)?;
        let saved = servers::save(&mut tx, &server).await?;
        self.fail.at("purge.before_end");
        // A tenant's own server goes with it, unless an operator holds it back.
        let may_go = matches!(saved.status, PoolStatus::Active | PoolStatus::Error);
        if saved.server_type == ServerType::Dedicated && may_go {
            order_removal(&mut tx, saved, now).await?;
            self.fail.at("removal.before_commit");
        }
        tx.commit().await?;
        tracing::info!(instance.id = allocation.instance_id, "purged");
        Ok(())
    }

    /// The allocation, when its purge is ordered and not done.
    async fn to_be_purged(&self, id: Uuid) -> Result<Option<Allocation>, Error> {
        let mut connection = self.pool.acquire().await?;
        let found = allocations::find(&mut connection, id).await?;
        Ok(found.filter(|found| found.purging && found.state != AllocationState::Purged))
    }

    /// A softly released database is live again.
    pub async fn reclaim(&self, instance: &ExternalId) -> Result<(Allocation, Server), Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        let allocation =
            allocations::find_by_instance(&mut tx, instance).await?.ok_or(Error::NotFound("allocation"))?;
        if allocation.state == AllocationState::Released
            && !allocations::mark_reclaimed(&mut tx, allocation.id, now).await?
        {
            return Err(Error::InvalidState("the database is being dropped".into()));
        }
        let allocation = allocations::find(&mut tx, allocation.id).await?.ok_or(Error::Conflict)?;
        if allocation.state == AllocationState::Purged {
            return Err(Error::InvalidState("the database is dropped".into()));
        }
        let server = servers::find(&mut tx, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        tx.commit().await?;
        Ok((allocation, server))
    }
}
