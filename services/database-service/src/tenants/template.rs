//! The database that tenants' databases are copied from: `template0` with the extensions that Odoo needs, made once on each server. Copying it
//! saves each tenant a connection and the making of the extensions. Nobody can connect to it.

use sqlx::PgConnection;

use super::provision::extensions;
use super::statement::Statement;
use super::{Target, TenantError, Tenants};

/// Its name; tenants' databases begin with `odoo_`.
pub(super) const TEMPLATE: &str = "platform_template";

/// Key of the lock of the one who makes it.
const MAKING: i64 = 0x5341_4153_4454_504c;

impl Tenants {
    /// Makes it. One that was left half made by a crash is made anew: only the last statement makes it a template.
    pub(super) async fn make_template(&self, target: &Target) -> Result<(), TenantError> {
        let mut conn = self.admin(target).acquire().await?;
        if is_ready(&mut conn).await? {
            return Ok(());
        }
        // Two checks of a server may come here at once: the second one finds it made.
        sqlx::query("SELECT pg_advisory_lock($1)").bind(MAKING).execute(&mut *conn).await?;
        let made = make(&mut conn, target).await;
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(MAKING).execute(&mut *conn).await?;
        made
    }
}

async fn make(conn: &mut PgConnection, target: &Target) -> Result<(), TenantError> {
    if is_ready(conn).await? {
        return Ok(());
    }
    Statement::new("DROP DATABASE IF EXISTS ")
        .identifier(TEMPLATE)
        .sql(" WITH (FORCE)")
        .execute(&mut *conn)
        .await?;
    Statement::new("CREATE DATABASE ")
        .identifier(TEMPLATE)
        .sql(" TEMPLATE template0 ENCODING 'UTF8'")
        .execute(&mut *conn)
        .await?;
    extensions(target, TEMPLATE).await?;
    Statement::new("REVOKE ALL ON DATABASE ")
        .identifier(TEMPLATE)
        .sql(" FROM PUBLIC")
        .execute(&mut *conn)
        .await?;
    Statement::new("ALTER DATABASE ")
        .identifier(TEMPLATE)
        .sql(" WITH ALLOW_CONNECTIONS false IS_TEMPLATE true")
        .execute(&mut *conn)
        .await?;
    Ok(())
}

/// Is it whole? Servers of before have none.
pub(super) async fn is_ready(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1 AND datistemplate AND NOT datallowconn)",
    )
    .bind(TEMPLATE)
    .fetch_one(conn)
    .await
}
