//! Two roles for one database while its password changes (DBS-32). The second is a member of the first, so
//! that it may do everything at once; when nobody uses the first any more, all that it owns becomes the
//! second's and it is dropped. At rest a database has one role, which owns all in it.

use secrecy::SecretString;
use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::provision::{self, Tenant, mark_of, role_mark};
use super::statement::Statement;
use super::{Target, TenantError, Tenants, held, owner};
use crate::secrets::scram_verifier;

/// Begins the name of a role that gave up its own.
const GONE: &str = "gone_";

/// Drops a role: long enough for those who hold it to be ended, and within the time that a caller waits.
const DROP: &str = "SET LOCAL lock_timeout = '5s'; DROP ROLE IF EXISTS ";
/// The same when nobody waits for it and it is tried again.
const DROP_AT_ONCE: &str = "SET LOCAL lock_timeout = '500ms'; DROP ROLE IF EXISTS ";

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
        let mut conn = self.admin(target).acquire().await?;
        owner::admit(target, &mut conn, database).await?;
        provision::role(&mut conn, second).await?;
        self.fail.at("rotate.login_made");
        Statement::new("GRANT ")
            .identifier(first)
            .sql(" TO ")
            .identifier(&second.name)
            .execute(&mut *conn)
            .await?;
        drop(conn);
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
        let mut conn = self.admin(target).acquire().await?;
        match role_mark(&mut conn, old).await? {
            None => return Ok(()),
            Some(mark) if mark == mark_of(allocation) => {}
            Some(_) => return Err(TenantError::NameTaken(old.to_owned())),
        }
        close(&mut conn, old).await?;
        let mut inside = owner::enter(target, &mut conn, database).await?;
        // A rotation that began before an update has a role that looks nowhere for Odoo's list yet.
        owner::odoos_list(owner::grant(database, new).sql("; "), new).execute(&mut *conn).await?;
        Statement::new("REASSIGN OWNED BY ")
            .identifier(old)
            .sql(" TO ")
            .identifier(new)
            .execute(&mut inside)
            .await?;
        inside.close().await?;
        self.fail.at("rotate.handed_over");
        drop_role(target, &mut conn, old).await
    }

    /// Drops a role that was made for nothing. Never one that owns a database.
    pub async fn drop_login(&self, target: &Target, allocation: Uuid, role: &str) -> Result<(), TenantError> {
        let mut conn = self.admin(target).acquire().await?;
        match role_mark(&mut conn, role).await? {
            None => return Ok(()),
            Some(mark) if mark == mark_of(allocation) => {}
            Some(_) => return Err(TenantError::NameTaken(role.to_owned())),
        }
        let owns: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE pg_get_userbyid(datdba) = $1)")
                .bind(role)
                .fetch_one(&mut *conn)
                .await?;
        if owns {
            return Err(TenantError::Internal(anyhow::anyhow!("{role} owns a database and stays")));
        }
        close(&mut conn, role).await?;
        drop_role(target, &mut conn, role).await
    }
}

/// Nobody logs in as this role any more, and nobody is.
pub(super) async fn close(conn: &mut PgConnection, role: &str) -> sqlx::Result<()> {
    Statement::new("ALTER ROLE ").identifier(role).sql(" NOLOGIN").execute(&mut *conn).await?;
    end_sessions(conn, role).await
}

/// Ends the sessions of a role, and waits some seconds for each.
pub(super) async fn end_sessions(conn: &mut PgConnection, role: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1")
        .bind(role)
        .execute(conn)
        .await?;
    Ok(())
}

/// Drops a role together with what it left in any database: large objects in `postgres`, and rights that
/// another tenant granted it, which would keep it alive for ever.
///
/// A neighbour that grants it something at this moment, or again and again, holds up nobody: then the role
/// only gives up its name, and [`sweep_gone`] drops it when it can.
pub(super) async fn drop_role(
    target: &Target,
    conn: &mut PgConnection,
    role: &str,
) -> Result<(), TenantError> {
    let process = held::process(conn).await?;
    match held::unheld(target, process, Box::pin(drop_whole(target, conn, role, DROP))).await {
        Err(error) if held::is_held(&error) => {
            tracing::warn!(server = target.name, role, error = %error, "a role cannot be dropped yet");
            let gone = [GONE, &Uuid::now_v7().simple().to_string()].concat();
            Statement::new("ALTER ROLE ")
                .identifier(role)
                .sql(" NOLOGIN; ALTER ROLE ")
                .identifier(role)
                .sql(" RENAME TO ")
                .identifier(&gone)
                .execute(conn)
                .await?;
            Ok(())
        }
        done => done,
    }
}

/// Drops the roles that only gave up their names. One that is still held stays for the next time.
pub(super) async fn sweep_gone(target: &Target, admin: &PgPool) -> Result<(), TenantError> {
    let gone: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_authid WHERE starts_with(rolname::text, $1) AND
                starts_with(shobj_description(oid, 'pg_authid'), $2) LIMIT 20",
    )
    .bind(GONE)
    .bind(provision::MARK)
    .fetch_all(admin)
    .await?;
    if gone.is_empty() {
        return Ok(());
    }
    let mut conn = target.connect("postgres").await?;
    for role in gone {
        match Box::pin(drop_whole(target, &mut conn, &role, DROP_AT_ONCE)).await {
            Err(error) if held::is_held(&error) => {}
            done => done?,
        }
    }
    conn.close().await?;
    Ok(())
}

async fn drop_whole(
    target: &Target,
    conn: &mut PgConnection,
    role: &str,
    drop: &'static str,
) -> Result<(), TenantError> {
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
         WHERE s.refclassid = 'pg_authid'::regclass
             AND s.refobjid = (SELECT oid FROM pg_authid WHERE rolname = $1)",
    )
    .bind(role)
    .fetch_all(&mut *conn)
    .await?;
    for database in left {
        match Box::pin(drop_owned(target, conn, &database, role)).await {
            // Whether the role can go all the same shows at the end.
            Err(error) if held::is_held(&error) => {}
            done => done?,
        }
    }
    // Rights on databases and other shared objects.
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_authid WHERE rolname = $1)")
        .bind(role)
        .fetch_one(&mut *conn)
        .await?;
    if exists {
        Statement::new("DROP OWNED BY ").identifier(role).execute(&mut *conn).await?;
    }
    Statement::new(drop).identifier(role).execute(&mut *conn).await?;
    Ok(())
}

async fn drop_owned(
    target: &Target,
    conn: &mut PgConnection,
    database: &str,
    role: &str,
) -> Result<(), TenantError> {
    let mut inside = owner::enter(target, conn, database).await?;
    let process = held::process(&mut inside).await?;
    let statement = Statement::new("DROP OWNED BY ").identifier(role);
    held::unheld(target, process, statement.execute(&mut inside)).await?;
    inside.close().await?;
    Ok(())
}
