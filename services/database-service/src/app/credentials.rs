//! Giving a tenant's password to the worker (DBS-09, DBS-32): the only way that it leaves this service.

use secrecy::SecretString;

use super::App;
use crate::domain::AllocationState;
use crate::domain::names::ExternalId;
use crate::error::Error;
use crate::store;
use crate::store::allocations::{self, Allocation};
use crate::store::servers::{self, Server};

/// A tenant's place and its password.
#[derive(Debug)]
pub struct Credentials {
    /// Names.
    pub allocation: Allocation,
    /// Where.
    pub server: Server,
    /// Of the role.
    pub password: SecretString,
}

impl App {
    /// Of an allocation that is there, released ones included: a final backup still needs them.
    pub async fn credentials(&self, instance: &ExternalId) -> Result<Credentials, Error> {
        let mut conn = self.pool.acquire().await?;
        let allocation =
            allocations::find_by_instance(&mut conn, instance).await?.ok_or(Error::NotFound("allocation"))?;
        match allocation.state {
            AllocationState::Allocated | AllocationState::Released if !allocation.purging => {}
            AllocationState::Purged | AllocationState::Released => return Err(Error::NotFound("allocation")),
            _ => return Err(Error::InvalidState("the database is not made yet".into())),
        }
        let server =
            servers::find(&mut conn, allocation.db_server_id).await?.ok_or(Error::NotFound("server"))?;
        let sealed =
            store::secrets::allocation(&mut conn, allocation.id).await?.ok_or(Error::NotFound("secret"))?;
        let password = self.vault.open(allocation.id, &sealed)?;
        Ok(Credentials { allocation, server, password })
    }
}
