//! The copy of a database that moves, taken while its instance runs: what a job needs for it, and a first comparison.

use secrecy::SecretString;
use uuid::Uuid;

use super::super::{App, tenant_error};
use crate::domain::MoveState;
use crate::domain::trace::Lack;
use crate::error::Error;
use crate::store::allocations;
use crate::store::moves;
use crate::store::servers::{self, Server};
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
    /// An empty database on the target, and the credentials of both ends. What the source looks like is noted first.
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
        let origin = self.target(&mut tx, &source).await?;
        let trace = self
            .tenants
            .trace(&origin, &allocation.db_name)
            .await
            .map_err(|error| tenant_error(&source.name, error))?;
        moves::note_trace(&mut tx, id, &trace).await?;
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

    /// Looks which tables are the same at both ends while the instance may be at work, so that those which nobody writes to until it is off need not be
    /// read then. True: done, whatever was found. False: it goes on.
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
        let (app, name) = (self.clone(), allocation.db_name);
        let work = async move {
            let (source, target) = app.ends(&found).await?;
            let now =
                app.tenants.trace(&source, &name).await.map_err(|error| tenant_error(&source.name, error))?;
            // All of it will be copied again: nothing of it is worth a look.
            let names = match before.lacks(&now) {
                Lack::Everything(_) => std::collections::BTreeSet::new(),
                Lack::Tables(_) => before.untouched(&now, now.tables.keys().cloned().collect()),
            };
            let tables: Vec<_> = names.iter().filter_map(|name| now.tables.get(name)).collect();
            let same = app
                .tenants
                .same(&source, &target, &name, &tables)
                .await
                .map_err(|error| tenant_error(&target.name, error))?;
            let copy = app.copy_of(&found, target, name)?;
            app.tenants.analyze(&copy).await.map_err(|error| tenant_error(&copy.admin.name, error))?;
            tracing::info!(r#move.id = %id, tables = now.tables.len(), same = same.len(), "a copy was compared while its source is in use");
            app.fail.at("move.compared_early");
            moves::note_compared(&mut *app.pool.acquire().await?, id, known.number, &same).await?;
            Ok(())
        };
        Ok(self.in_background(id, work).await?.is_some())
    }
}
