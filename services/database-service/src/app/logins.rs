//! Tenants that locked themselves out. Whoever has the credentials of an instance may change the password of
//! its role, and the instance never gets in again: each round of checks compares what the server has with
//! what is stored, and gives the role the stored password back (DBS-32). What the instance knows is valid
//! again, without a person and without a restart of anything.

use secrecy::SecretString;
use uuid::Uuid;

use super::{App, tenant_error};
use crate::domain::AllocationState;
use crate::domain::server::Server;
use crate::error::Error;
use crate::secrets::is_verifier_of;
use crate::store::allocations;
use crate::store::secrets::{self, Login};
use crate::tenants::{RoleLogin, Target};

impl App {
    /// Restores the log-ins of a server's tenants; gives the number of those that were restored. One that
    /// cannot be restored keeps no other out.
    pub(super) async fn restore_logins(&self, server: &Server, target: &Target) -> Result<usize, Error> {
        let stored = secrets::logins(&mut *self.pool.acquire().await?, server.id).await?;
        let known = self.tenants.role_logins(target).await;
        let mut known = known.map_err(|error| super::server_error(&server.name, error.into()))?;
        let (mut questions, mut restored) = (Vec::new(), 0);
        for Login { allocation, user, sealed } in stored {
            // A missing role is a rotation's or a purge's matter, or an operator's.
            let Some(found) = known.remove(&user) else { continue };
            match self.vault.open(allocation, &sealed) {
                Ok(password) => questions.push((allocation, found, password)),
                // One that cannot be read keeps no other out.
                Err(error) => {
                    tracing::error!(
                        allocation.id = %allocation,
                        error = %error,
                        "a stored password cannot be read"
                    );
                }
            }
        }
        // Some milliseconds of the processor each.
        let locked_out = tokio::task::spawn_blocking(move || {
            let out = questions.into_iter().filter(|(_, found, password)| is_locked_out(found, password));
            out.map(|(allocation, ..)| allocation).collect::<Vec<_>>()
        });
        for allocation in locked_out.await.map_err(|error| Error::Internal(error.into()))? {
            match Box::pin(self.restore_login(server, target, allocation)).await {
                Ok(done) => restored += usize::from(done),
                Err(error) => {
                    tracing::warn!(allocation.id = %allocation, error = %error, "a tenant stays locked out for now");
                }
            }
        }
        Ok(restored)
    }

    /// While nobody else works on the tenant, and with what is stored then: a change of the password or a
    /// move may have ended meanwhile.
    async fn restore_login(&self, server: &Server, target: &Target, id: Uuid) -> Result<bool, Error> {
        let _work = self.work(server.id, id).await?;
        let mut connection = self.pool.acquire().await?;
        let Some(allocation) = allocations::find(&mut connection, id).await? else { return Ok(false) };
        let is_here = allocation.db_server_id == server.id && allocation.state == AllocationState::Allocated;
        let Some(sealed) = secrets::allocation(&mut connection, id).await?.filter(|_| is_here) else {
            return Ok(false);
        };
        drop(connection);
        let password = self.vault.open(id, &sealed)?;
        self.tenants
            .restore_login(target, id, &allocation.db_name, &allocation.db_user, &password)
            .await
            .map_err(|error| tenant_error(&server.name, error))?;
        tracing::warn!(
            instance.id = allocation.instance_id,
            server.name = server.name,
            "a tenant had changed how its role logs in; the stored password is valid again"
        );
        Ok(true)
    }
}

fn is_locked_out(found: &RoleLogin, password: &SecretString) -> bool {
    found.loads || !is_verifier_of(&found.verifier, password)
}
