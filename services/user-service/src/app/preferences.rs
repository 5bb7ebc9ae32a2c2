//! Preferences (USR-19).

use super::{App, Caller, audit_own};
use crate::domain::Preferences;
use crate::domain::users::User;
use crate::error::Error;
use crate::store::users;

impl App {
    /// The account that holds the own preferences.
    pub async fn preferences(&self, caller: &Caller) -> Result<User, Error> {
        self.own_account(caller).await
    }

    /// Changes what is given; the account afterwards.
    pub async fn update_preferences(&self, caller: &Caller, wanted: &Preferences) -> Result<User, Error> {
        let now = runtime::clock::now();
        let mut tx = self.pool.begin().await?;
        users::change_preferences(&mut tx, caller.id, wanted, now).await?;
        audit_own(&mut tx, caller.id, "preferences.changed", &caller.client, now).await?;
        let user = users::find(&mut tx, caller.id).await?.ok_or(Error::NotFound("account"))?;
        tx.commit().await?;
        Ok(user)
    }
}
