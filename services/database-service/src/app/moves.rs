//! Moving a tenant's database to another server (DBS-33), a call a step of the worker's operation. Every call
//! may be repeated after a crash.
//!
//! Until [`App::switch_move`] the source is the database and the copy is worth nothing; after it the other
//! way round. Nothing in between exists.

mod copy;
mod leftovers;
mod reserve;
mod sync;
mod verify;

use std::sync::PoisonError;
use std::time::Duration;

use time::OffsetDateTime;
use tracing::Instrument as _;
use uuid::Uuid;

use super::App;
use crate::domain::allocation::Allocation;
use crate::domain::pool::PoolEvent;
use crate::domain::server::Server;
use crate::domain::{MoveState, SOURCE_KEPT_DAYS};
use crate::error::Error;
use crate::store::allocations;
use crate::store::moves::{self, Move};
use crate::store::servers;
use crate::store::{self};
use crate::tenants::Target;

pub use copy::{End, Ends};
pub use reserve::{Preview, Reserved, Wish};
pub use sync::Synced;

/// How long a caller waits for a comparison or for tables to be copied before it is told to ask again.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest time for reading or filling tables: less than the operation has.
const LONGEST: Duration = Duration::from_hours(3);

impl App {
    async fn move_and_allocation(&self, id: Uuid) -> Result<(Move, Allocation), Error> {
        let mut connection = self.pool.acquire().await?;
        let found = moves::find(&mut connection, id).await?.ok_or(Error::NotFound("move"))?;
        let allocation =
            allocations::find(&mut connection, found.allocation_id).await?.ok_or(Error::Conflict)?;
        Ok((found, allocation))
    }

    /// Both servers of a move as their administrators reach them.
    async fn ends(&self, found: &Move) -> Result<(Target, Target), Error> {
        let mut connection = self.pool.acquire().await?;
        let source = servers::find(&mut connection, found.source).await?.ok_or(Error::Conflict)?;
        let target = servers::find(&mut connection, found.target).await?.ok_or(Error::Conflict)?;
        drop(connection);
        Ok((self.target(&source).await?, self.target(&target).await?))
    }

    /// Does work of a move that may take long. `None`: it goes on behind the caller, who asks again.
    async fn in_background<T: Send + 'static>(
        &self,
        id: Uuid,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        if !self.at_moves.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Ok(None);
        }
        let at_it = AtIt(self.clone(), id);
        let work = async move {
            let _at_it = at_it;
            let late = |_| Error::Internal(anyhow::anyhow!("work on a move did not end within {LONGEST:?}"));
            tokio::time::timeout(LONGEST, work).await.map_err(late)?
        };
        match tokio::time::timeout(PATIENCE, tokio::spawn(work.in_current_span())).await {
            Ok(outcome) => outcome.map_err(|error| Error::Internal(error.into()))?.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The one decision: allocation, password, tier and slots in one transaction. A repeat gives the same
    /// answer.
    pub async fn switch_move(&self, id: Uuid) -> Result<(Allocation, Server, Option<OffsetDateTime>), Error> {
        let now = runtime::clock::now();
        let (found, allocation) = self.move_and_allocation(id).await?;
        if found.state != MoveState::Switched && found.state != MoveState::Dropped {
            let mut tx = self.pool.begin().await?;
            allocations::lock_work(&mut tx, allocation.id).await?;
            let sealed = found.sealed.as_ref().ok_or(Error::NotFound("secret"))?;
            let password = self.vault.open(id, sealed)?;
            // In the order of ids, so that two moves in opposite directions wait for each other instead of
            // for ever.
            let mut locked = Vec::new();
            for server in [found.source.min(found.target), found.source.max(found.target)] {
                locked.push(servers::lock(&mut tx, server).await?.ok_or(Error::Conflict)?);
            }
            let kept_until = now + time::Duration::days(SOURCE_KEPT_DAYS);
            if !moves::mark_switched(&mut tx, id, kept_until, now).await? {
                return Err(Error::InvalidState("the copy is not verified, or the move has ended".into()));
            }
            // Never over the limit of a full server: the slot on the target is let go before the allocation
            // takes it.
            moves::hold(&mut tx, id, None).await?;
            if !moves::relocate(&mut tx, &found, now).await? {
                return Err(Error::InvalidState("the database was given up meanwhile".into()));
            }
            moves::hold(&mut tx, id, Some(found.source)).await?;
            let resealed = self.vault.seal(allocation.id, &password)?;
            store::secrets::put_allocation(&mut tx, allocation.id, &resealed).await?;
            for server in &mut locked {
                servers::save(&mut tx, server).await?;
            }
            self.fail.at("move.before_switch");
            tx.commit().await?;
            self.fail.at("move.switched");
            tracing::info!(instance.id = allocation.instance_id, r#move.id = %id, "a database was moved");
            self.clean_up_moves(vec![id]).await;
        }
        let mut connection = self.pool.acquire().await?;
        let found = moves::find(&mut connection, id).await?.ok_or(Error::NotFound("move"))?;
        let allocation = allocations::find(&mut connection, allocation.id).await?.ok_or(Error::Conflict)?;
        let server = servers::find(&mut connection, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        Ok((allocation, server, found.drop_after))
    }

    /// Gives a move up. What was switched stays; what never began is no failure.
    pub async fn abort_move(&self, id: Uuid) -> Result<&'static str, Error> {
        let now = runtime::clock::now();
        let mut connection = self.pool.acquire().await?;
        let Some(found) = moves::find(&mut connection, id).await? else { return Ok("absent") };
        let from = [MoveState::Reserved, MoveState::Copying, MoveState::Verified, MoveState::Aborting];
        if moves::advance(&mut connection, id, &from, MoveState::Aborting, now).await? {
            drop(connection);
            self.fail.at("move.aborting");
            self.drop_leftover(id).await?;
            return Ok("aborted");
        }
        drop(connection);
        let now_is = self.move_and_allocation(found.id).await?.0.state;
        Ok(if matches!(now_is, MoveState::Switched | MoveState::Dropped) { "switched" } else { "aborted" })
    }

    /// Notes how long the instance was off, for the estimates of later moves.
    pub async fn finish_move(&self, id: Uuid, off_seconds: u32) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await?;
        let seconds = i32::try_from(off_seconds).unwrap_or(i32::MAX);
        if moves::note_off(&mut connection, id, seconds).await? {
            Ok(())
        } else {
            Err(Error::NotFound("move"))
        }
    }

    /// The fill of a server changed by a move.
    async fn refill(
        &self,
        connection: &mut sqlx::PgConnection,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<Server, Error> {
        let mut server = servers::lock(connection, id).await?.ok_or(Error::Conflict)?;
        server.apply(PoolEvent::FillChanged, now)?;
        Ok(servers::save(connection, &server).await?)
    }
}

/// Work on a move that goes on; however it ends, other work may begin.
struct AtIt(App, Uuid);

impl Drop for AtIt {
    fn drop(&mut self) {
        self.0.at_moves.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}
