//! The last step of a copy, with the instance off: what changed since it was taken is copied again.

use uuid::Uuid;

use super::super::{App, tenant_error};
use crate::domain::MoveState;
use crate::domain::trace::Lack;
use crate::error::Error;
use crate::store::moves::{self, Move};
use crate::tenants::{Copy, Target};

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// It has what the source has.
    Yes,
    /// Tables are being copied: ask again.
    Running,
    /// It has to be made anew by a job.
    CopyAgain,
}

impl App {
    /// Copies again what was written to since the copy was begun. The instance must be off; whatever session
    /// it left is ended.
    pub async fn sync_copy(&self, id: Uuid) -> Result<Synced, Error> {
        let (found, allocation) = self.move_and_allocation(id).await?;
        match found.state {
            MoveState::Copying => {}
            MoveState::Verified | MoveState::Switched => return Ok(Synced::Yes),
            _ => return Err(Error::InvalidState("there is no copy".into())),
        }
        let (app, name) = (self.clone(), allocation.db_name);
        let work = async move { app.synchronise(&found, name).await };
        Ok(self.in_background(id, work).await?.unwrap_or(Synced::Running))
    }

    async fn synchronise(&self, found: &Move, name: String) -> Result<Synced, Error> {
        let id = found.id;
        let (source, target) = self.ends(found).await?;
        let at_source = |error| tenant_error(&source.name, error);
        self.tenants.end_sessions(&source, &name).await.map_err(at_source)?;
        let now = self.tenants.trace(&source, &name).await.map_err(at_source)?;
        let known = moves::copied(&mut *self.pool.acquire().await?, id).await?;
        let before = known.trace.ok_or(Error::Conflict)?;
        let names = match before.lacks(&now) {
            Lack::Everything(why) => {
                tracing::info!(r#move.id = %id, why, "the copy of a moving database is made anew");
                return Ok(Synced::CopyAgain);
            }
            Lack::Tables(names) => names,
        };
        let copy = self.copy_of(found, target, name)?;
        let at_target = |error| tenant_error(&copy.admin.name, error);
        let open = self.tenants.open_copy(&copy).await.map_err(at_target)?;
        // Asked with the session open: whoever closes the copy first says so and then ends its sessions.
        let mut connection = self.pool.acquire().await?;
        if !moves::is_open_to_copies(&mut connection, id, known.number).await? {
            return Err(Error::InvalidState("the copy is closed".into()));
        }
        drop(connection);
        let tables: Vec<_> = names.iter().filter_map(|name| now.tables.get(name)).collect();
        self.tenants.refill(&source, open, &copy.name, &tables).await.map_err(at_target)?;
        self.fail.at("move.tables_copied");
        let bytes: i64 = tables.iter().map(|table| table.bytes).sum();
        tracing::info!(r#move.id = %id, tables = tables.len(), bytes, "what changed of a moving database was copied again");
        let mut compared = known.compared.unwrap_or_default();
        compared.tables = before.untouched(&now, compared.tables);
        moves::note_synced(&mut *self.pool.acquire().await?, id, known.number, &now, &compared).await?;
        Ok(Synced::Yes)
    }

    /// The copy on the target.
    pub(crate) fn copy_of(&self, found: &Move, admin: Target, name: String) -> Result<Copy, Error> {
        let sealed = found.sealed.as_ref().ok_or(Error::NotFound("secret"))?;
        let password = self.vault.open(found.id, sealed)?;
        let tenant = admin.as_tenant(&name, password);
        Ok(Copy { admin, tenant, name })
    }
}
