//! Two roles for one database while its password changes (DBS-32). The second is a member of the first, so
//! that it may do everything at once; when nobody uses the first any more, all that it owns becomes the
//! second's and it is dropped. At rest a database has one role, which owns all in it.

use secrecy::SecretString;
use sqlx::Connection as _;
use uuid::Uuid;

use super::connections::Tenants;
use super::drops::drop_role;
use super::marks::{mark_of, role_mark};
use super::owner;
use super::roles::Tenant;
use super::roles::{self, close};
use super::statement::Statement;
use super::target::{Target, TenantError};
use crate::secrets::scram_verifier;

impl Tenants {
    /// Makes the second role, or completes it, and proves that it can log in and has the rights of `first`.
    /// May be repeated.
    pub async fn add_login(
        &self,
        target: &Target,
        database: &str,
        first: &str,
        second: &Tenant,
    ) -> Result<(), TenantError> {
        let mut connection = self.admin(target).acquire().await?;
        owner::admit(target, &mut connection, database).await?;
        roles::role(&mut connection, second).await?;
        self.fail.at("rotate.login_made");
        Statement::new("GRANT ")
            .identifier(first)
            .sql(" TO ")
            .identifier(&second.name)
            .execute(&mut *connection)
            .await?;
        drop(connection);
        let as_second = target.as_tenant(&second.name, second.password.clone());
        let mut session = as_second.connect(database).await?;
        let usable: bool = sqlx::query_scalar(
            "SELECT pg_has_role($1::name, 'USAGE') AND has_database_privilege(current_database(), 'CREATE')",
        )
        .bind(first)
        .fetch_one(&mut session)
        .await?;
        session.close().await?;
        if usable {
            Ok(())
        } else {
            Err(TenantError::Internal(anyhow::anyhow!("{} has no rights in {database}", second.name)))
        }
    }

    /// Does the server take this password?
    pub async fn signs_in(target: &Target) -> bool {
        match target.connect("postgres").await {
            Ok(session) => session.close().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Another password for the administrator; only its verifier travels.
    pub async fn set_admin_password(
        &self,
        target: &Target,
        password: &SecretString,
    ) -> Result<(), TenantError> {
        Statement::new("ALTER ROLE ")
            .identifier(&target.user)
            .sql(" PASSWORD ")
            .literal(&scram_verifier(password)?)
            .execute(&self.admin(target))
            .await?;
        Ok(())
    }

    /// Sessions of a role.
    pub async fn sessions_of(&self, target: &Target, role: &str) -> Result<i64, TenantError> {
        Ok(sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = $1")
            .bind(role)
            .fetch_one(&self.admin(target))
            .await?)
    }

    /// Ends the sessions of `old`, gives all that it owns in its database to `new`, and drops it. May be
    /// repeated.
    pub async fn retire_login(
        &self,
        target: &Target,
        allocation: Uuid,
        database: &str,
        old: &str,
        new: &str,
    ) -> Result<(), TenantError> {
        let mut connection = self.admin(target).acquire().await?;
        match role_mark(&mut connection, old).await? {
            None => return Ok(()),
            Some(mark) if mark == mark_of(allocation) => {}
            Some(_) => return Err(TenantError::NameTaken(old.to_owned())),
        }
        close(&mut connection, old).await?;
        let mut inside = owner::enter(target, &mut connection, database).await?;
        // A rotation that began before an update has a role that looks nowhere for Odoo's list yet.
        owner::odoos_list(owner::grant(database, new).sql("; "), new).execute(&mut *connection).await?;
        Statement::new("REASSIGN OWNED BY ")
            .identifier(old)
            .sql(" TO ")
            .identifier(new)
            .execute(&mut inside)
            .await?;
        inside.close().await?;
        self.fail.at("rotate.handed_over");
        drop_role(target, &mut connection, old).await
    }

    /// Drops a role that was made for nothing. Never one that owns a database.
    pub async fn drop_login(&self, target: &Target, allocation: Uuid, role: &str) -> Result<(), TenantError> {
        let mut connection = self.admin(target).acquire().await?;
        match role_mark(&mut connection, role).await? {
            None => return Ok(()),
            Some(mark) if mark == mark_of(allocation) => {}
            Some(_) => return Err(TenantError::NameTaken(role.to_owned())),
        }
        let owns: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE pg_get_userbyid(datdba) = $1)")
                .bind(role)
                .fetch_one(&mut *connection)
                .await?;
        if owns {
            return Err(TenantError::Internal(anyhow::anyhow!("{role} owns a database and stays")));
        }
        close(&mut connection, role).await?;
        drop_role(target, &mut connection, role).await
    }
}
