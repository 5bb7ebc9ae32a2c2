//! Giving a tenant's password to the worker (DBS-09, DBS-32): the only way that it leaves this service.

use secrecy::SecretString;

use super::App;
use crate::domain::AllocationState;
use crate::domain::allocation::Allocation;
use crate::domain::names::ExternalId;
use crate::domain::server::Server;
use crate::error::Error;
use crate::store;
use crate::store::allocations;
use crate::store::servers;

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
        let mut connection = self.pool.acquire().await?;
        let allocation = allocations::find_by_instance(&mut connection, instance)
            .await?
            .ok_or(Error::NotFound("allocation"))?;
        match allocation.state {
            AllocationState::Allocated | AllocationState::Released if !allocation.purging => {}
            AllocationState::Purged | AllocationState::Released => return Err(Error::NotFound("allocation")),
            _ => return Err(Error::InvalidState("the database is not made yet".into())),
        }
        let server = servers::find(&mut connection, allocation.db_server_id)
            .await?
            .ok_or(Error::NotFound("server"))?;
        let sealed = store::secrets::allocation(&mut connection, allocation.id)
            .await?
            .ok_or(Error::NotFound("secret"))?;
        let password = self.vault.open(allocation.id, &sealed)?;
        Ok(Credentials { allocation, server, password })
    }
}
