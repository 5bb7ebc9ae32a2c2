//! Work at tenants' servers: one piece at a time for each tenant.
//!
//! A server may take long to answer. Nothing of the service's own database is held meanwhile but the lock of
//! the tenant, on connections that are there for these locks alone: whoever asks this service for something
//! else finds a connection, and no row is locked.

use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::App;
use super::remote::Permit;
use crate::error::Error;
use crate::store;

/// Work at a tenant's role and database: nobody else does any until this goes.
#[derive(Debug)]
pub(super) struct Work {
    lock: Transaction<'static, Postgres>,
    _permit: Permit,
}

impl Work {
    /// Begins the transaction that writes down what was done at the server. The lock lives as long as its
    /// connection: when that was lost on the way, somebody else may be at work, and nothing is written.
    pub(super) async fn end(&mut self, app: &App) -> Result<Transaction<'static, Postgres>, Error> {
        self.end_with(app, "BEGIN").await
    }

    /// The same for an end that may be lost with the machine ([`store::QUICK`]).
    pub(super) async fn end_quickly(&mut self, app: &App) -> Result<Transaction<'static, Postgres>, Error> {
        self.end_with(app, store::QUICK).await
    }

    /// Fails when the lock was lost: directly before what cannot be undone, such as the drop of a database.
    pub(super) async fn still_held(&mut self) -> Result<(), Error> {
        Ok(store::allocations::still_works(&mut self.lock).await?)
    }

    async fn end_with(
        &mut self,
        app: &App,
        begin: &'static str,
    ) -> Result<Transaction<'static, Postgres>, Error> {
        self.still_held().await?;
        Ok(app.pool.begin_with(begin).await?)
    }
}

impl App {
    /// Waits for the server's turn, then until nobody else works on this tenant.
    pub(super) async fn work(&self, server: Uuid, allocation: Uuid) -> Result<Work, Error> {
        let permit = self.remote.permit(server).await?;
        let mut lock = self.locks.begin_with(store::PATIENT).await?;
        store::allocations::lock_work(&mut lock, allocation).await?;
        Ok(Work { lock, _permit: permit })
    }
}
