//! The end of a tenant's role, with all that hangs on it in any database.

use sqlx::{Connection as _, PgConnection, PgPool};
use uuid::Uuid;

use super::held;
use super::marks::MARK;
use super::owner;
use super::statement::Statement;
use super::target::{Target, TenantError};

/// Begins the name of a role that gave up its own.
const GONE: &str = "gone_";

/// Drops a role: long enough for those who hold it to be ended, and within the time that a caller waits.
const DROP: &str = "SET LOCAL lock_timeout = '5s'; DROP ROLE IF EXISTS ";
/// The same when nobody waits for it and it is tried again.
const DROP_AT_ONCE: &str = "SET LOCAL lock_timeout = '500ms'; DROP ROLE IF EXISTS ";

/// Drops a role together with what it left in any database: large objects in `postgres`, and rights that
/// another tenant granted it, which would keep it alive for ever.
///
/// A neighbour that grants it something at this moment, or again and again, holds up nobody: then the role
/// only gives up its name, and [`sweep_gone`] drops it when it can.
pub(crate) async fn drop_role(
    target: &Target,
    connection: &mut PgConnection,
    role: &str,
) -> Result<(), TenantError> {
    let process = held::process(connection).await?;
    match held::unheld(target, process, Box::pin(drop_whole(target, connection, role, DROP))).await {
        Err(error) if held::is_held(&error) => {
            tracing::warn!(server = target.name, role, error = %error, "a role cannot be dropped yet");
            let gone = [GONE, &Uuid::now_v7().simple().to_string()].concat();
            Statement::new("ALTER ROLE ")
                .identifier(role)
                .sql(" NOLOGIN; ALTER ROLE ")
                .identifier(role)
                .sql(" RENAME TO ")
                .identifier(&gone)
                .execute(connection)
                .await?;
            Ok(())
        }
        done => done,
    }
}

/// Drops the roles that only gave up their names. One that is still held stays for the next time.
pub(crate) async fn sweep_gone(target: &Target, admin: &PgPool) -> Result<(), TenantError> {
    let gone: Vec<String> = sqlx::query_scalar(
        "SELECT rolname::text FROM pg_authid WHERE starts_with(rolname::text, $1) AND
                starts_with(shobj_description(oid, 'pg_authid'), $2) LIMIT 20",
    )
    .bind(GONE)
    .bind(MARK)
    .fetch_all(admin)
    .await?;
    if gone.is_empty() {
        return Ok(());
    }
    let mut connection = target.connect("postgres").await?;
    for role in gone {
        match Box::pin(drop_whole(target, &mut connection, &role, DROP_AT_ONCE)).await {
            Err(error) if held::is_held(&error) => {}
            done => done?,
        }
    }
    connection.close().await?;
    Ok(())
}

async fn drop_whole(
    target: &Target,
    connection: &mut PgConnection,
    role: &str,
    drop: &'static str,
) -> Result<(), TenantError> {
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
         WHERE s.refclassid = 'pg_authid'::regclass
             AND s.refobjid = (SELECT oid FROM pg_authid WHERE rolname = $1)",
    )
    .bind(role)
    .fetch_all(&mut *connection)
    .await?;
    for database in left {
        match Box::pin(drop_owned(target, connection, &database, role)).await {
            // Whether the role can go all the same shows at the end.
            Err(error) if held::is_held(&error) => {}
            done => done?,
        }
    }
    // Rights on databases and other shared objects.
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_authid WHERE rolname = $1)")
        .bind(role)
        .fetch_one(&mut *connection)
        .await?;
    if exists {
        Statement::new("DROP OWNED BY ").identifier(role).execute(&mut *connection).await?;
    }
    Statement::new(drop).identifier(role).execute(&mut *connection).await?;
    Ok(())
}

async fn drop_owned(
    target: &Target,
    connection: &mut PgConnection,
    database: &str,
    role: &str,
) -> Result<(), TenantError> {
    let mut inside = owner::enter(target, connection, database).await?;
    let process = held::process(&mut inside).await?;
    let statement = Statement::new("DROP OWNED BY ").identifier(role);
    held::unheld(target, process, statement.execute(&mut inside)).await?;
    inside.close().await?;
    Ok(())
}
