//! Roles and databases of tenants: made, and dropped. Every step may be repeated after a crash at any point.
//!
//! A role carries the id of its allocation as a comment, written in the transaction that makes it. Whatever
//! has our name without this mark was made by somebody else and is left alone (DBS-30). A database belongs to
//! us when its owner is the platform's own role (ADR 20), or, from before, our marked role.

use std::time::Duration;

use runtime::failpoint::FailPoint;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::connections::Tenants;
use super::drops;
use super::extensions::extensions;
use super::marks::{mark_of, role_mark};
use super::owner;
use super::privacy::{self, hide_others};
use super::roles::{self, Tenant, write_role};
use super::statement::Statement;
use super::target::{Target, TenantError};
use super::template;
use crate::domain::names::logins;

/// Tries when somebody else is at the same catalog rows.
const TRIES: u32 = 8;

impl Tenants {
    /// Makes role and database, or completes them.
    pub async fn prepare(&self, target: &Target, tenant: &Tenant) -> Result<(), TenantError> {
        let admin = self.admin(target);
        let mut tries = 0;
        loop {
            match prepare_once(&admin, target, tenant, &self.fail).await {
                Err(TenantError::Server(error)) if tries < TRIES && is_passing(&error) => {
                    tries += 1;
                    tracing::debug!(server = target.name, error = %error, tries, "trying a tenant's database again");
                    tokio::time::sleep(Duration::from_millis(u64::from(tries) * rand::random_range(20..120)))
                        .await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Ends the tenant's sessions and drops database and role. What is not there is no failure; what is not
    /// ours stays.
    pub async fn drop_tenant(
        &self,
        target: &Target,
        allocation: Uuid,
        name: &str,
    ) -> Result<(), TenantError> {
        let admin = self.admin(target);
        let mut connection = admin.acquire().await?;
        let owner = database_owner(&mut connection, name).await?;
        let mut roles = Vec::new();
        for role in logins(name) {
            match role_mark(&mut connection, &role).await? {
                Some(mark) if mark == mark_of(allocation) => roles.push(role),
                Some(_) if role == name => return Err(TenantError::NameTaken(name.to_owned())),
                _ => {}
            }
        }
        if owner.as_ref().is_some_and(|owner| owner != owner::OWNER && !roles.contains(owner)) {
            return Err(TenantError::NameTaken(name.to_owned()));
        }
        // First: a tenant's session that is left could hold the row of its database for ever.
        for role in &roles {
            roles::close(&mut connection, role).await?;
        }
        if owner.is_some() {
            owner::admit(target, &mut connection, name).await?;
            Statement::new("DROP DATABASE IF EXISTS ")
                .identifier(name)
                .sql(" WITH (FORCE)")
                .execute(&mut *connection)
                .await?;
        }
        self.fail.at("purge.database_dropped");
        for role in &roles {
            drops::drop_role(target, &mut connection, role).await?;
        }
        Ok(())
    }
}

async fn prepare_once(
    admin: &PgPool,
    target: &Target,
    tenant: &Tenant,
    fail: &FailPoint,
) -> Result<(), TenantError> {
    let mut connection = admin.acquire().await?;
    let name = tenant.name.as_str();
    let found = look(&mut connection, name).await?;
    write_role(&mut connection, tenant, found.mark.as_deref()).await?;
    fail.at("allocate.role_made");
    match found.owner.as_deref() {
        None => {}
        Some(known) if known == owner::OWNER || known == name => {
            owner::admit(target, &mut connection, name).await?;
        }
        Some(_) => return Err(TenantError::NameTaken(name.to_owned())),
    }
    // A database that is there already may be without its extensions: it was made by another version, or by
    // hand.
    let is_new = found.owner.is_none();
    if is_new {
        if !found.prepared {
            owner::ensure(target, &mut connection).await?;
        }
        // Until its rights are set, nobody but the administrator gets in: PostgreSQL lets everybody connect
        // to a new database.
        Statement::new("CREATE DATABASE ")
            .identifier(name)
            .sql(" TEMPLATE ")
            .identifier(if found.prepared { template::TEMPLATE } else { "template0" })
            .sql(" ENCODING 'UTF8' CONNECTION LIMIT 0 OWNER ")
            .identifier(owner::OWNER)
            .execute(&mut *connection)
            .await?;
    }
    fail.at("allocate.database_made");
    if !(is_new && found.prepared) {
        let mut inside = target.connect(name).await?;
        extensions(&mut inside).await?;
        hide_others(target, &mut inside).await?;
        owner::open_public(&mut inside).await?;
        inside.close().await?;
    }
    // One message, which is one transaction: it is open to its tenant when it is closed to all others.
    Statement::new("REVOKE ALL ON DATABASE ")
        .identifier(name)
        .sql(" FROM PUBLIC; ")
        .then(&owner::grant(name, name))
        .sql("; ALTER DATABASE ")
        .identifier(name)
        .sql(" CONNECTION LIMIT -1")
        .execute(&mut *connection)
        .await?;
    Ok(())
}

/// What is there under a tenant's name, and whether the server is as this release wants it, with its
/// template.
struct Found {
    mark: Option<String>,
    owner: Option<String>,
    prepared: bool,
}

/// In one question.
const LOOK: &str = concat!(
    "SELECT (SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = $1),
        (SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1),
        EXISTS (SELECT FROM pg_database WHERE datname = $2 AND datistemplate AND NOT datallowconn) AND ",
    privacy::is_prepared!("$3")
);

async fn look(connection: &mut PgConnection, name: &str) -> sqlx::Result<Found> {
    let (mark, owner, prepared) = sqlx::query_as(AssertSqlSafe(LOOK))
        .bind(name)
        .bind(template::TEMPLATE)
        .bind(privacy::MARK)
        .fetch_one(connection)
        .await?;
    Ok(Found { mark, owner, prepared })
}

async fn database_owner(connection: &mut PgConnection, name: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1")
        .bind(name)
        .fetch_optional(connection)
        .await
}

/// Somebody else was at the same rows of the catalog, or at the template: it passes.
fn is_passing(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    match error.code().as_deref() {
        // Object in use; duplicate database, object or row; serialization, deadlock, lock time-out; too many
        // connections.
        Some("55006" | "42P04" | "42710" | "23505" | "40001" | "40P01" | "55P03" | "53300") => true,
        Some("XX000") => error.message().contains("concurrently updated"),
        _ => false,
    }
}
