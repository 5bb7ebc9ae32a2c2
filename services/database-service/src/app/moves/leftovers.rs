//! What a move leaves behind: a copy that lost its aim, a source that is kept and then dropped.

use time::OffsetDateTime;
use uuid::Uuid;

use super::super::remote::bounded;
use super::super::{App, tenant_error};
use crate::domain::MoveState;
use crate::domain::pool::{PoolEvent, ServerType};
use crate::error::Error;
use crate::store::allocations;
use crate::store::moves::{self, Move};
use crate::store::servers;

/// What nobody touched for so long is the sweep's.
const STUCK: time::Duration = time::Duration::seconds(30);

impl App {
    /// Closes sources, drops copies and sources whose time has come. A server that is away is tried again by
    /// the next sweep.
    pub(in crate::app) async fn sweep_moves(&self, now: OffsetDateTime) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let found = moves::unfinished(&mut connection, now, now - STUCK).await?;
        drop(connection);
        for left in found {
            if let Err(error) = bounded(Box::pin(self.settle(&left, now))).await {
                tracing::warn!(r#move.id = %left.id, error = %error, "the leftovers of a move stay for now");
                let mut connection = self.pool.acquire().await?;
                moves::note_failure(&mut connection, left.id, &error.to_string(), now).await?;
            }
        }
        Ok(())
    }

    /// The same now, for these; what fails is the sweep's.
    pub(in crate::app) async fn clean_up_moves(&self, ids: Vec<Uuid>) {
        for id in ids {
            let work = async {
                let mut connection = self.pool.acquire().await?;
                let found = moves::find(&mut connection, id).await?;
                drop(connection);
                match found {
                    Some(found) => self.settle(&found, runtime::clock::now()).await,
                    None => Ok(()),
                }
            };
            let done: Result<(), Error> = work.await;
            if let Err(error) = done {
                tracing::warn!(r#move.id = %id, error = %error, "the leftovers of a move stay for now");
            }
        }
    }

    async fn settle(&self, left: &Move, now: OffsetDateTime) -> Result<(), Error> {
        match left.state {
            MoveState::Aborting => self.drop_leftover(left.id).await,
            MoveState::Switched if left.drop_after.is_some_and(|due| due <= now) => {
                self.drop_leftover(left.id).await
            }
            MoveState::Switched if !left.closed => self.close_source(left, now).await,
            _ => Ok(()),
        }
    }

    async fn close_source(&self, left: &Move, now: OffsetDateTime) -> Result<(), Error> {
        let mut work = self.work(left.source, left.allocation_id).await?;
        let mut connection = self.pool.acquire().await?;
        let allocation =
            allocations::find(&mut connection, left.allocation_id).await?.ok_or(Error::Conflict)?;
        let server = servers::find(&mut connection, left.source).await?.ok_or(Error::Conflict)?;
        drop(connection);
        let place = self.target(&server).await?;
        let closed = self.tenants.close_tenant(&place, &allocation.db_name).await;
        closed.map_err(|error| tenant_error(&server.name, error))?;
        self.fail.at("move.source_closed");
        let mut tx = work.end(self).await?;
        moves::mark_closed(&mut tx, left.id, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Drops every leftover of an allocation whose database goes.
    pub(in crate::app) async fn drop_leftovers(&self, allocation: Uuid) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let found = moves::of_allocation(&mut connection, allocation).await?;
        drop(connection);
        for left in found {
            self.drop_leftover(left.id).await?;
        }
        Ok(())
    }

    /// Drops the copy of a move that was given up, or the source of one that was switched, and gives its slot
    /// back.
    pub(crate) async fn drop_leftover(&self, id: Uuid) -> Result<(), Error> {
        let now = runtime::clock::now();
        let Some(found) = moves::find(&mut *self.pool.acquire().await?, id).await? else { return Ok(()) };
        let place = if found.state == MoveState::Switched { found.source } else { found.target };
        let mut work = self.work(place, found.allocation_id).await?;
        let mut connection = self.pool.acquire().await?;
        let found = moves::find(&mut connection, id).await?.ok_or(Error::Conflict)?;
        let allocation =
            allocations::find(&mut connection, found.allocation_id).await?.ok_or(Error::Conflict)?;
        let (place, from, to) = match found.state {
            MoveState::Switched => (found.source, MoveState::Switched, MoveState::Dropped),
            MoveState::Aborting => (found.target, MoveState::Aborting, MoveState::Aborted),
            _ => return Ok(()),
        };
        if place == allocation.db_server_id {
            return Err(Error::Internal(anyhow::anyhow!("move {id} would drop the database in use")));
        }
        let server = servers::find(&mut connection, place).await?.ok_or(Error::Conflict)?;
        drop(connection);
        if !server.platform_host.is_empty() && server.status.wants_objects() {
            let target = self.target(&server).await?;
            work.still_held().await?;
            let dropped = self.tenants.drop_copy(&target, allocation.id, &allocation.db_name).await;
            dropped.map_err(|error| tenant_error(&server.name, error))?;
        }
        self.fail.at("move.leftover_dropped");
        let mut tx = work.end(self).await?;
        // The server first, as everywhere: a slot is given and taken under its lock.
        servers::lock(&mut tx, place).await?.ok_or(Error::Conflict)?;
        if !moves::advance(&mut tx, id, &[from], to, now).await? {
            return Err(Error::Conflict);
        }
        moves::hold(&mut tx, id, None).await?;
        let mut server = self.refill(&mut tx, place, now).await?;
        // A server of its own goes with the last database on it.
        if server.server_type == ServerType::Dedicated && server.apply(PoolEvent::RemovalOrdered, now).is_ok()
        {
            let saved = servers::save(&mut tx, &server).await?;
            servers::request_objects(&mut tx, &saved).await?;
        }
        tx.commit().await?;
        tracing::info!(
            instance.id = allocation.instance_id,
            server = server.name,
            "the leftover of a move was dropped"
        );
        Ok(())
    }
}
