//! The database that tenants' databases are copied from: `template0` with the extensions that Odoo needs,
//! made once on each server. Copying it saves each tenant a connection and the making of the extensions.
//! Nobody can connect to it.

use sqlx::Connection as _;

use super::connections::Tenants;
use super::extensions::extensions;
use super::owner;
use super::privacy::hide_others;
use super::statement::Statement;
use super::target::{Target, TenantError};

/// Its name; tenants' databases begin with `odoo_`.
pub(crate) const TEMPLATE: &str = "platform_template";

impl Tenants {
    /// Makes it anew. One that was left half made by a crash is no template: only the last statement makes it
    /// one.
    pub(crate) async fn make_template(&self, target: &Target) -> Result<(), TenantError> {
        let mut connection = self.admin(target).acquire().await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(TEMPLATE)
            .fetch_one(&mut *connection)
            .await?;
        if exists {
            // PostgreSQL drops no template, and tenants are not copied from one that is going.
            Statement::new("ALTER DATABASE ")
                .identifier(TEMPLATE)
                .sql(" WITH IS_TEMPLATE false")
                .execute(&mut *connection)
                .await?;
        }
        Statement::new("DROP DATABASE IF EXISTS ")
            .identifier(TEMPLATE)
            .sql(" WITH (FORCE)")
            .execute(&mut *connection)
            .await?;
        Statement::new("CREATE DATABASE ")
            .identifier(TEMPLATE)
            .sql(" TEMPLATE template0 ENCODING 'UTF8' CONNECTION LIMIT 0")
            .execute(&mut *connection)
            .await?;
        let mut inside = target.connect(TEMPLATE).await?;
        extensions(&mut inside).await?;
        hide_others(target, &mut inside).await?;
        owner::open_public(&mut inside).await?;
        inside.close().await?;
        Statement::new("REVOKE ALL ON DATABASE ")
            .identifier(TEMPLATE)
            .sql(" FROM PUBLIC")
            .execute(&mut *connection)
            .await?;
        Statement::new("ALTER DATABASE ")
            .identifier(TEMPLATE)
            .sql(" WITH ALLOW_CONNECTIONS false IS_TEMPLATE true")
            .execute(&mut *connection)
            .await?;
        Ok(())
    }
}
