//! Reading the audit log (USR-27): all of it, or what is about oneself.

use runtime::page::Page;

use super::{App, Caller};
use crate::domain::audit::{Filter, Stored};
use crate::error::Error;
use crate::store::audit;

impl App {
    /// Entries about the own account.
    pub async fn own_audit(&self, caller: &Caller, page: Page) -> Result<(Vec<Stored>, u64), Error> {
        self.all_audit(&Filter { customer: Some(caller.id), ..Filter::default() }, page).await
    }

    /// Entries of the platform.
    pub async fn all_audit(&self, filter: &Filter, page: Page) -> Result<(Vec<Stored>, u64), Error> {
        let mut connection = self.pool.acquire().await?;
        Ok(audit::list(&mut connection, filter, page).await?)
    }
}
