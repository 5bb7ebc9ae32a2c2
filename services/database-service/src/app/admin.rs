//! Operators' reads (DBS-01, DBS-04, DBS-14).

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::App;
use crate::domain::AllocationState;
use crate::domain::allocation::Allocation;
use crate::domain::caller::Caller;
use crate::domain::names::ExternalId;
use crate::domain::pool::{PoolStatus, ServerType};
use crate::domain::server::Server;
use crate::error::Error;
use crate::store;
use crate::store::allocations;
use crate::store::servers;

/// A contact older than this counts as none.
const CONTACT_LIFE: Duration = Duration::seconds(120);

impl App {
    /// A page of servers and the number of all.
    pub async fn list_pools(
        &self,
        status: Option<PoolStatus>,
        server_type: Option<ServerType>,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<Server>, i64), Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(servers::list(&mut connection, status, server_type, limit, offset).await?)
    }

    /// A server by id or name, and what it holds.
    pub async fn pool(&self, id_or_name: &str) -> Result<(Server, Vec<Allocation>), Error> {
        let mut connection = self.pool.acquire().await?;
        let server = match Uuid::parse_str(id_or_name) {
            Ok(id) => servers::find(&mut connection, id).await?,
            Err(_) => servers::find_by_name(&mut connection, id_or_name).await?,
        };
        let server = server.ok_or(Error::NotFound("pool"))?;
        let held = allocations::on_server(&mut connection, server.id).await?;
        Ok((server, held))
    }

    /// Where an instance has its database; a purged one has none.
    pub async fn allocation(&self, instance: &ExternalId) -> Result<(Allocation, Server), Error> {
        let mut connection = self.pool.acquire().await?;
        let allocation = allocations::find_by_instance(&mut connection, instance)
            .await?
            .filter(|allocation| allocation.state != AllocationState::Purged)
            .ok_or(Error::NotFound("allocation"))?;
        let server = servers::find(&mut connection, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        Ok((allocation, server))
    }

    /// Writes down that somebody does by hand what the worker does otherwise. Before the work: a try is worth
    /// a row too.
    pub async fn note_by_hand(
        &self,
        caller: &Caller,
        action: &str,
        instance: &ExternalId,
        reason: &str,
    ) -> Result<(), Error> {
        // On the disk at the latest with what it tells of, whose transaction comes later in the same log.
        let mut tx = self.pool.begin_with(store::QUICK).await?;
        store::audit::add(&mut tx, caller, action, instance.as_str(), reason).await?;
        tx.commit().await?;
        Ok(())
    }

    /// When the worker last reached the cluster, and whether that is recent.
    pub async fn last_contact(&self) -> Result<(Option<OffsetDateTime>, bool), Error> {
        let mut connection = self.pool.acquire().await?;
        let last = store::contact::last(&mut connection).await?;
        Ok((last, last.is_some_and(|at| runtime::clock::now() - at <= CONTACT_LIFE)))
    }
}
