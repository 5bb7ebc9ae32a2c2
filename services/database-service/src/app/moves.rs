//! Moving a tenant's database to another server (DBS-33), a call a step of the worker's operation. Every call may be repeated after a crash.
//!
//! Until [`App::switch_move`] the source is the database and the copy is worth nothing; after it the other way round. Nothing in between exists.

mod leftovers;
mod reserve;

use std::sync::PoisonError;
use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{App, tenant_error};
use crate::domain::pool::PoolEvent;
use crate::domain::{AllocationState, MoveState, SOURCE_KEPT_DAYS};
use crate::error::Error;
use crate::store::allocations::{self, Allocation};
use crate::store::moves::{self, Move};
use crate::store::servers::{self, Server};
use crate::store::{self};
use crate::tenants::Tenant;

pub use reserve::{Preview, Reserved, Wish};

/// How long a caller waits for a comparison before it is told to ask again.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a copying job needs.
#[derive(Debug)]
pub struct Ends {
    /// The tenant's database now.
    pub source: End,
    /// The empty one.
    pub target: End,
    /// What both are checked against, in PEM; empty when one of them is from before TLS.
    pub authorities: String,
}

/// One end of a copy.
#[derive(Debug)]
pub struct End {
    /// Where.
    pub server: Server,
    /// Database, and role of the same name.
    pub name: String,
    /// Role.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

impl App {
    async fn move_and_allocation(&self, id: Uuid) -> Result<(Move, Allocation), Error> {
        let mut conn = self.pool.acquire().await?;
        let found = moves::find(&mut conn, id).await?.ok_or(Error::NotFound("move"))?;
        let allocation = allocations::find(&mut conn, found.allocation_id).await?.ok_or(Error::Conflict)?;
        Ok((found, allocation))
    }

    /// An empty database on the target, and the credentials of both ends.
    pub async fn begin_copy(&self, id: Uuid) -> Result<Ends, Error> {
        let _permit = self.remote.acquire().await.map_err(|error| Error::Internal(error.into()))?;
        let now = runtime::clock::now();
        let (found, allocation) = self.move_and_allocation(id).await?;
        let mut tx = self.pool.begin().await?;
        allocations::lock_work(&mut tx, allocation.id).await?;
        let from = [MoveState::Reserved, MoveState::Copying, MoveState::Verified];
        if !moves::advance(&mut tx, id, &from, MoveState::Copying, now).await? {
            return Err(Error::InvalidState("the move has ended".into()));
        }
        let source = servers::find(&mut tx, found.source).await?.ok_or(Error::Conflict)?;
        let target = servers::find(&mut tx, found.target).await?.ok_or(Error::Conflict)?;
        let sealed =
            store::secrets::allocation(&mut tx, allocation.id).await?.ok_or(Error::NotFound("secret"))?;
        let source_password = self.vault.open(allocation.id, &sealed)?;
        let sealed = found.sealed.as_ref().ok_or(Error::NotFound("secret"))?;
        let target_password = self.vault.open(id, sealed)?;
        let tenant = Tenant {
            allocation: allocation.id,
            name: allocation.db_name.clone(),
            password: target_password.clone(),
            limits: found.plan_tier.role_limits(),
        };
        let (from, to) = (
            store::certificates::trust(&mut tx, source.id, now).await?,
            store::certificates::trust(&mut tx, target.id, now).await?,
        );
        let authorities = if from.enforced && to.enforced { to.authorities } else { String::new() };
        let place = self.target(&mut tx, &target).await?;
        self.tenants
            .prepare_anew(&place, &tenant)
            .await
            .map_err(|error| tenant_error(&target.name, error))?;
        self.fail.at("move.target_made");
        tx.commit().await?;
        self.fail.at("move.copy_begun");
        let end = |server, user: &str, password| End {
            server,
            name: allocation.db_name.clone(),
            user: user.to_owned(),
            password,
        };
        Ok(Ends {
            source: end(source, &allocation.db_user, source_password),
            target: end(target, &allocation.db_name, target_password),
            authorities,
        })
    }

    /// True: the copy is the same. False: it is still being compared.
    pub async fn verify_copy(&self, id: Uuid) -> Result<bool, Error> {
        let (found, allocation) = self.move_and_allocation(id).await?;
        match found.state {
            MoveState::Verified | MoveState::Switched => return Ok(true),
            MoveState::Copying => {}
            _ => return Err(Error::InvalidState("there is no copy".into())),
        }
        if let Some(difference) = found.last_error.strip_prefix(DIFFERS) {
            return Err(Error::CopyDiffers(difference.to_owned()));
        }
        if !self.verifying.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Ok(false);
        }
        let app = self.clone();
        let comparing = Comparing(self.clone(), id);
        let work = async move {
            let _comparing = comparing;
            app.compare(&found, &allocation.db_name).await
        };
        let task = tokio::spawn(work.in_current_span());
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(outcome) => outcome.map_err(|error| Error::Internal(error.into()))?.map(|()| true),
            Err(_) => Ok(false),
        }
    }

    async fn compare(&self, found: &Move, name: &str) -> Result<(), Error> {
        let mut conn = self.pool.acquire().await?;
        let source = servers::find(&mut conn, found.source).await?.ok_or(Error::Conflict)?;
        let target = servers::find(&mut conn, found.target).await?.ok_or(Error::Conflict)?;
        let (from, to) = (self.target(&mut conn, &source).await?, self.target(&mut conn, &target).await?);
        drop(conn);
        let (here, there) = tokio::join!(self.tenants.content(&from, name), self.tenants.content(&to, name));
        let here = here.map_err(|error| tenant_error(&source.name, error))?;
        let there = there.map_err(|error| tenant_error(&target.name, error))?;
        let now = runtime::clock::now();
        let mut conn = self.pool.acquire().await?;
        if let Some(difference) = here.difference(&there) {
            tracing::error!(r#move.id = %found.id, difference, "a copy differs from its source");
            moves::note_failure(&mut conn, found.id, &[DIFFERS, &difference].concat(), now).await?;
            return Err(Error::CopyDiffers(difference));
        }
        self.fail.at("move.compared");
        tracing::info!(r#move.id = %found.id, tables = here.tables.len(), rows = here.rows(), "a copy is the same as its source");
        if moves::advance(&mut conn, found.id, &[MoveState::Copying], MoveState::Verified, now).await? {
            Ok(())
        } else {
            Err(Error::InvalidState("the move has ended".into()))
        }
    }

    /// The one decision: allocation, password, tier and slots in one transaction. A repeat gives the same answer.
    pub async fn switch_move(&self, id: Uuid) -> Result<(Allocation, Server, Option<OffsetDateTime>), Error> {
        let now = runtime::clock::now();
        let (found, allocation) = self.move_and_allocation(id).await?;
        if found.state != MoveState::Switched && found.state != MoveState::Dropped {
            let mut tx = self.pool.begin().await?;
            allocations::lock_work(&mut tx, allocation.id).await?;
            let sealed = found.sealed.as_ref().ok_or(Error::NotFound("secret"))?;
            let password = self.vault.open(id, sealed)?;
            // In the order of ids, so that two moves in opposite directions wait for each other instead of for ever.
            let mut locked = Vec::new();
            for server in [found.source.min(found.target), found.source.max(found.target)] {
                locked.push(servers::lock(&mut tx, server).await?.ok_or(Error::Conflict)?);
            }
            let kept_until = now + time::Duration::days(SOURCE_KEPT_DAYS);
            if !moves::mark_switched(&mut tx, id, kept_until, now).await? {
                return Err(Error::InvalidState("the copy is not verified, or the move has ended".into()));
            }
            // Never over the limit of a full server: the slot on the target is let go before the allocation takes it.
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
        let mut conn = self.pool.acquire().await?;
        let found = moves::find(&mut conn, id).await?.ok_or(Error::NotFound("move"))?;
        let allocation = allocations::find(&mut conn, allocation.id).await?.ok_or(Error::Conflict)?;
        let server = servers::find(&mut conn, allocation.db_server_id).await?.ok_or(Error::Conflict)?;
        Ok((allocation, server, found.drop_after))
    }

    /// Gives a move up. What was switched stays; what never began is no failure.
    pub async fn abort_move(&self, id: Uuid) -> Result<&'static str, Error> {
        let now = runtime::clock::now();
        let mut conn = self.pool.acquire().await?;
        let Some(found) = moves::find(&mut conn, id).await? else { return Ok("absent") };
        let from = [MoveState::Reserved, MoveState::Copying, MoveState::Verified, MoveState::Aborting];
        if moves::advance(&mut conn, id, &from, MoveState::Aborting, now).await? {
            drop(conn);
            self.fail.at("move.aborting");
            self.drop_leftover(id).await?;
            return Ok("aborted");
        }
        drop(conn);
        let now_is = self.move_and_allocation(found.id).await?.0.state;
        Ok(if matches!(now_is, MoveState::Switched | MoveState::Dropped) { "switched" } else { "aborted" })
    }

    /// Notes how long the instance was off, for the estimates of later moves.
    pub async fn finish_move(&self, id: Uuid, off_seconds: u32) -> Result<(), Error> {
        let mut conn = self.pool.acquire().await?;
        let seconds = i32::try_from(off_seconds).unwrap_or(i32::MAX);
        if moves::note_off(&mut conn, id, seconds).await? { Ok(()) } else { Err(Error::NotFound("move")) }
    }

    /// The fill of a server changed by a move.
    async fn refill(
        &self,
        conn: &mut sqlx::PgConnection,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<Server, Error> {
        let mut server = servers::lock(conn, id).await?.ok_or(Error::Conflict)?;
        server.apply(PoolEvent::FillChanged, now)?;
        Ok(servers::save(conn, &server).await?)
    }
}

/// A comparison that goes on; however it ends, another may begin.
struct Comparing(App, Uuid);

impl Drop for Comparing {
    fn drop(&mut self) {
        self.0.verifying.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Begins the note of a difference.
const DIFFERS: &str = "copy differs: ";

/// Only a database in use can be moved.
fn movable(allocation: &Allocation) -> Result<(), Error> {
    match allocation.state {
        AllocationState::Allocated if !allocation.purging => Ok(()),
        _ => Err(Error::InvalidState(["the database is ", allocation.state.as_str()].concat())),
    }
}
