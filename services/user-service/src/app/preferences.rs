//! Preferences (USR-19).

use super::{Actor, App, audit_own};
use crate::domain::Preferences;
use crate::domain::users::User;
use crate::error::Error;
use crate::store::users;

impl App {
    /// The account that holds the own preferences.
    pub async fn preferences(&self, actor: &Actor) -> Result<User, Error> {
        self.own_account(actor).await
    }

    /// Changes what is given; the account afterwards.
    pub async fn update_preferences(&self, actor: &Actor, wanted: &Preferences) -> Result<User, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        users::change_preferences(&mut tx, actor.id, wanted, now).await?;
        audit_own(&mut tx, actor.id, "preferences.changed", &actor.client, now).await?;
        let user = users::find(&mut tx, actor.id).await?.ok_or(Error::NotFound("account"))?;
        tx.commit().await?;
        Ok(user)
    }
}
