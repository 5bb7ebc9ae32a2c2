//! Whether tenants can log in. PostgreSQL lets every role change its own password and give its own sessions a
//! library to load, and nobody can take that from it.

use std::collections::HashMap;

use secrecy::SecretString;
use uuid::Uuid;

use super::connections::Tenants;
use super::marks::{mark_of, role_mark};
use super::statement::Statement;
use super::target::{Target, TenantError};
use crate::secrets::scram_verifier;

/// How a role stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleLogin {
    /// What the server checks its password against; empty: it has none.
    pub verifier: String,
    /// Its sessions load a library, and fail when that is not there.
    pub loads: bool,
}

impl Tenants {
    /// All roles of tenants by name.
    pub async fn role_logins(&self, target: &Target) -> sqlx::Result<HashMap<String, RoleLogin>> {
        let rows: Vec<(String, String, bool)> = sqlx::query_as(
            "SELECT rolname::text, coalesce(rolpassword, ''), EXISTS (SELECT FROM pg_db_role_setting,
                     unnest(setconfig) AS setting
                 WHERE setrole = r.oid AND setting LIKE 'local_preload_libraries=%')
             FROM pg_authid r WHERE rolname LIKE 'odoo\\_%'",
        )
        .fetch_all(&self.admin(target))
        .await?;
        let named = rows.into_iter().map(|(name, verifier, loads)| (name, RoleLogin { verifier, loads }));
        Ok(named.collect())
    }

    /// The role takes this password again, and its sessions load nothing. A role that is not there is not
    /// made, and nothing else of it changes.
    pub async fn restore_login(
        &self,
        target: &Target,
        allocation: Uuid,
        database: &str,
        role: &str,
        password: &SecretString,
    ) -> Result<(), TenantError> {
        let mut connection = self.admin(target).acquire().await?;
        match role_mark(&mut connection, role).await? {
            Some(mark) if mark == mark_of(allocation) => {}
            Some(_) => return Err(TenantError::NameTaken(role.to_owned())),
            None => return Err(TenantError::Unsuited(["there is no role ", role].concat())),
        }
        Statement::new("ALTER ROLE ")
            .identifier(role)
            .sql(" PASSWORD ")
            .literal(&scram_verifier(password)?)
            .execute(&mut *connection)
            .await?;
        drop(connection);
        self.let_in(target, database, role).await
    }
}
