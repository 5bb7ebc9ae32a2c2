//! Look-ups for other services (USR-28).

use uuid::Uuid;

use super::App;
use crate::error::Error;
use crate::store::users::{self, User};

impl App {
    /// An account that is not erased.
    pub async fn customer(&self, id: Uuid) -> Result<User, Error> {
        let mut db = self.pool.acquire().await?;
        users::find(&mut db, id).await?.ok_or(Error::NotFound("customer"))
    }

    /// Accounts that are not erased; unknown ids are left out.
    pub async fn customers(&self, ids: &[Uuid]) -> Result<Vec<User>, Error> {
        let mut db = self.pool.acquire().await?;
        Ok(users::find_many(&mut db, ids).await?)
    }
}
