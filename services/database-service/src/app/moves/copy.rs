//! The copy of a database that moves, taken while its instance runs: what a job needs for it, and a first
//! comparison.

use std::collections::BTreeSet;

use secrecy::SecretString;
use uuid::Uuid;

use super::super::{App, tenant_error};
use crate::domain::MoveState;
use crate::domain::server::Server;
use crate::domain::trace::{Compared, Lack, Trace};
use crate::error::Error;
use crate::store::moves::{self, Move};
use crate::store::servers;
use crate::store::{self};
use crate::tenants::Tenant;

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
    /// An empty database on the target, and the credentials of both ends. What the source looks like is noted
    /// first.
    pub async fn begin_copy(&self, id: Uuid) -> Result<Ends, Error> {
        let now = runtime::clock::now();
        let (found, allocation) = self.move_and_allocation(id).await?;
        let mut work = self.work(found.target, allocation.id).await?;
        let mut tx = work.end(self).await?;
        let from = [MoveState::Reserved, MoveState::Copying, MoveState::Verified];
        if !moves::advance(&mut tx, id, &from, MoveState::Copying, now).await? {
            return Err(Error::InvalidState("the move has ended".into()));
        }
        // Before anything is dropped: what was said of a former copy is true no more.
        let copy = moves::begin_copy(&mut tx, id).await?;
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
        tx.commit().await?;
        let (origin, place) = (self.target(&source).await?, self.target(&target).await?);
        self.tenants
            .let_in(&origin, &allocation.db_name, &allocation.db_user)
            .await
            .map_err(|error| tenant_error(&source.name, error))?;
        let trace = self
            .tenants
            .trace(&origin, &allocation.db_name)
            .await
            .map_err(|error| tenant_error(&source.name, error))?;
        // The source may have been slow, and the lock lost meanwhile: somebody else may have copied and
        // switched.
        work.still_held().await?;
        if !moves::is_open_to_copies(&mut *self.pool.acquire().await?, id, copy).await? {
            return Err(Error::InvalidState("the move goes on without this copy".into()));
        }
        self.tenants
            .prepare_anew(&place, &tenant)
            .await
            .map_err(|error| tenant_error(&target.name, error))?;
        self.fail.at("move.target_made");
        let mut tx = work.end(self).await?;
        moves::note_trace(&mut tx, id, &trace).await?;
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

    /// Looks which tables are the same at both ends while the instance may be at work, so that those which
    /// nobody writes to until it is off need not be read then. True: done, whatever was found. False: it goes
    /// on.
    pub async fn compare_copy(&self, id: Uuid) -> Result<bool, Error> {
        let (found, allocation) = self.move_and_allocation(id).await?;
        if found.state != MoveState::Copying {
            return Err(Error::InvalidState("there is no copy that could be compared".into()));
        }
        let known = moves::copied(&mut *self.pool.acquire().await?, id).await?;
        if known.compared.is_some() {
            return Ok(true);
        }
        let before = known.trace.ok_or(Error::Conflict)?;
        let (app, name, number) = (self.clone(), allocation.db_name, known.number);
        let work = async move { app.compare_early(&found, name, &before, number).await };
        Ok(self.in_background(id, work).await?.is_some())
    }

    async fn compare_early(
        &self,
        found: &Move,
        name: String,
        before: &Trace,
        number: i32,
    ) -> Result<(), Error> {
        let (source, target) = self.ends(found).await?;
        let at_target = |error| tenant_error(&target.name, error);
        let now =
            self.tenants.trace(&source, &name).await.map_err(|error| tenant_error(&source.name, error))?;
        let copy = self.tenants.trace(&target, &name).await.map_err(at_target)?;
        // When all of it will be copied again, nothing of it is worth a look.
        let names = match before.lacks(&now) {
            Lack::Everything(_) => BTreeSet::new(),
            Lack::Tables(_) => before.untouched(&now, now.tables.keys().cloned().collect()),
        };
        let looked_at: Vec<_> = names.iter().filter_map(|name| now.tables.get_key_value(name)).collect();
        let tables = self.tenants.same(&source, &target, &name, &looked_at).await.map_err(at_target)?;
        self.tenants.analyze(&self.copy_of(found, target.clone(), name)?).await.map_err(at_target)?;
        tracing::info!(
            r#move.id = %found.id, tables = now.tables.len(), same = tables.len(), "a copy was compared while its source is in use"
        );
        self.fail.at("move.compared_early");
        let compared = Compared { tables, copy };
        moves::note_compared(&mut *self.pool.acquire().await?, found.id, number, &compared).await?;
        Ok(())
    }
}
