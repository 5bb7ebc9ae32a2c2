//! The first credentials of the tenant, shown once to the owner (INS-37).

use contracts::worker::v1::GetAdminPasswordResponse;
use instance::domain::{Instance, Status};
use instance::store::events::Cause;
use instance::store::{self, events, instances};
use time::OffsetDateTime;
use uuid::Uuid;

use super::App;
use super::caller::Caller;
use crate::error::Error;

/// Fetches them, then marks them as shown, then gives them out: in this order, so that a failed fetch costs
/// nothing, no row is held while the cluster is asked, and of two calls at once only the one that marked them
/// gets them.
pub async fn reveal(app: &App, caller: &Caller, id: Uuid) -> Result<GetAdminPasswordResponse, Error> {
    let mut connection = app.pool.acquire().await?;
    // Not even an operator sees those of others.
    let found =
        instances::find(&mut connection, id, caller.own()).await?.ok_or(Error::NotFound("instance"))?;
    let now = store::now(&mut connection).await?;
    drop(connection);
    let instance = found.instance;
    may_reveal(&instance, now)?;
    let mut credentials = app.worker.admin_password(id).await?;
    if credentials.admin_email.is_empty() {
        credentials.admin_email.clone_from(&instance.admin_email);
    }
    mark(app, caller, id).await?;
    Ok(credentials)
}

fn may_reveal(instance: &Instance, now: OffsetDateTime) -> Result<(), Error> {
    if !instance.is_provisioned() || !instance.status.is_live() || instance.status == Status::Terminating {
        return Err(Error::InvalidState(instance.status, Vec::new()));
    }
    if instance.credentials_revealed_at.is_some() {
        return Err(Error::AlreadyRevealed);
    }
    if instance.credentials_until <= now {
        return Err(Error::RevealExpired);
    }
    Ok(())
}

async fn mark(app: &App, caller: &Caller, id: Uuid) -> Result<(), Error> {
    let mut tx = app.pool.begin().await?;
    let now = store::now(&mut tx).await?;
    let found = instances::find(&mut tx, id, caller.own()).await?.ok_or(Error::NotFound("instance"))?;
    may_reveal(&found.instance, now)?;
    if !instances::mark_revealed(&mut tx, id, now).await? {
        return Err(Error::AlreadyRevealed);
    }
    let text = "the first credentials were shown";
    events::add(&mut tx, id, "credentials_revealed", Cause::Customer, text, None, now).await?;
    tx.commit().await?;
    Ok(())
}
