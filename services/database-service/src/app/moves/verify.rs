//! Is the copy what the source is? Only what is the same is ever switched to.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::super::{App, tenant_error};
use crate::domain::MoveState;
use crate::error::Error;
use crate::store::moves::{self, Move};
use crate::tenants::Target;

/// Begins the note of a difference.
const DIFFERS: &str = "copy differs: ";

impl App {
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
        let app = self.clone();
        let work = async move { app.compare(&found, &allocation.db_name).await };
        Ok(self.in_background(id, work).await?.is_some())
    }

    async fn compare(&self, found: &Move, name: &str) -> Result<(), Error> {
        let (from, to) = self.ends(found).await?;
        let (at_source, at_target) =
            (|error| tenant_error(&from.name, error), |error| tenant_error(&to.name, error));
        let mut connection = self.pool.acquire().await?;
        let copy = moves::copied(&mut connection, found.id).await?.number;
        moves::close_to_copies(&mut connection, found.id).await?;
        drop(connection);
        self.tenants.close_to_copies(&to, name).await.map_err(at_target)?;
        let known = self.known_to_be_same(found, &from, &to, name).await?;
        let (here, there) =
            tokio::join!(self.tenants.content(&from, name, &known), self.tenants.content(&to, name, &known));
        let (here, there) = (here.map_err(at_source)?, there.map_err(at_target)?);
        let now = runtime::clock::now();
        let mut connection = self.pool.acquire().await?;
        if let Some(difference) = here.difference(&there) {
            tracing::error!(r#move.id = %found.id, difference, "a copy differs from its source");
            moves::note_failure(&mut connection, found.id, &[DIFFERS, &difference].concat(), now).await?;
            return Err(Error::CopyDiffers(difference));
        }
        self.fail.at("move.compared");
        tracing::info!(
            r#move.id = %found.id, tables = here.tables.len(), before = known.len(), rows = here.rows(), "a copy is the same as its source"
        );
        if moves::verified(&mut connection, found.id, copy, now).await? {
            Ok(())
        } else {
            Err(Error::InvalidState("the copy is being made anew, or the move has ended".into()))
        }
    }

    /// Tables that were found equal while the instance ran, and that nobody wrote to since.
    async fn known_to_be_same(
        &self,
        found: &Move,
        source: &Target,
        target: &Target,
        name: &str,
    ) -> Result<BTreeSet<String>, Error> {
        let copied = moves::copied(&mut *self.pool.acquire().await?, found.id).await?;
        let (Some(trace), Some(compared)) = (copied.trace, copied.compared) else {
            return Ok(BTreeSet::new());
        };
        let (here, there) = tokio::join!(self.tenants.trace(source, name), self.tenants.trace(target, name));
        let here = here.map_err(|error| tenant_error(&source.name, error))?;
        let there = there.map_err(|error| tenant_error(&target.name, error))?;
        Ok(compared.still(&trace, &here, &there))
    }
}
