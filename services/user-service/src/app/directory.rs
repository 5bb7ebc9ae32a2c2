//! Look-ups for other services (USR-28).

use time::OffsetDateTime;
use uuid::Uuid;

use super::App;
use crate::domain::users::User;
use crate::error::Error;
use crate::store::users;

impl App {
    /// An account that is not erased.
    pub async fn customer(&self, id: Uuid) -> Result<User, Error> {
        let mut connection = self.pool.acquire().await?;
        users::find(&mut connection, id).await?.ok_or(Error::NotFound("customer"))
    }

    /// Accounts that are not erased; unknown ids are left out.
    pub async fn customers(&self, ids: &[Uuid]) -> Result<Vec<User>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(users::find_many(&mut connection, ids).await?)
    }

    /// Persons who were erased (USR-20), after this id in the order of ids, with the time.
    pub async fn erased_customers(
        &self,
        after: Uuid,
        limit: u16,
    ) -> Result<Vec<(Uuid, OffsetDateTime)>, Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(users::list_erased(&mut connection, after, limit).await?)
    }
}
