//! Extensions that Odoo needs in a tenant's database.

use sqlx::PgConnection;

use super::statement::Statement;
use super::target::TenantError;

/// Extensions that Odoo uses and that only an administrator may be sure to make.
const EXTENSIONS: [&str; 2] = ["unaccent", "pg_trgm"];
/// Extensions that the server has, made in the tenant's database by the administrator.
pub(crate) async fn extensions(inside: &mut PgConnection) -> Result<(), TenantError> {
    let missing: Vec<String> = sqlx::query_scalar(
        "SELECT name::text FROM pg_available_extensions WHERE name = ANY($1) AND installed_version IS NULL",
    )
    .bind(EXTENSIONS.as_slice())
    .fetch_all(&mut *inside)
    .await?;
    for extension in missing {
        Statement::new("CREATE EXTENSION IF NOT EXISTS ")
            .identifier(&extension)
            .sql(" SCHEMA public")
            .execute(&mut *inside)
            .await?;
    }
    Ok(())
}
