//! The first credentials of the tenant, shown once to the owner (INS-37).

use contracts::worker::v1::GetAdminPasswordResponse;
use instance::domain::Status;
use instance::store::events::Cause;
use instance::store::{events, instances};
use uuid::Uuid;

use super::App;
use super::who::Who;
use crate::error::Error;

/// Marks them as shown, fetches them, commits: in this order, so that two calls at once never both get them, and a failed fetch costs nothing.
pub async fn reveal(app: &App, who: &Who, id: Uuid) -> Result<GetAdminPasswordResponse, Error> {
    let now = runtime::clock::now();
    let mut tx = app.pool.begin().await?;
    // Not even an operator sees those of others.
    let found = instances::find(&mut tx, id, who.own()).await?.ok_or(Error::NotFound("instance"))?;
    let instance = found.instance;
    if !instance.is_provisioned() || !instance.status.is_live() || instance.status == Status::Terminating {
        return Err(Error::InvalidState(instance.status, Vec::new()));
    }
    if instance.credentials_revealed_at.is_some() {
        return Err(Error::AlreadyRevealed);
    }
    if instance.credentials_until <= now {
        return Err(Error::RevealExpired);
    }
    if !instances::mark_revealed(&mut tx, id, now).await? {
        return Err(Error::AlreadyRevealed);
    }
    events::add(
        &mut tx,
        id,
        "credentials_revealed",
        Cause::Customer,
        "the first credentials were shown",
        None,
        now,
    )
    .await?;
    let mut credentials = app.worker.admin_password(id).await?;
    if credentials.admin_email.is_empty() {
        credentials.admin_email = instance.admin_email;
    }
    tx.commit().await?;
    Ok(credentials)
}
