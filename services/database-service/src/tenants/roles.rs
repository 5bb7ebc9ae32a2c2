//! Roles of tenants: written with their mark and limits, and closed. Every step may be repeated.

use secrecy::SecretString;
use sqlx::PgConnection;
use uuid::Uuid;

use super::marks::{mark_of, role_mark};
use super::owner;
use super::statement::Statement;
use super::target::TenantError;
use crate::domain::placement::RoleLimits;
use crate::secrets::scram_verifier;

/// What a tenant gets on a server.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Marks the role.
    pub allocation: Uuid,
    /// Name of database and role.
    pub name: String,
    /// Password of the role.
    pub password: SecretString,
    /// Limits of the role.
    pub limits: RoleLimits,
}

/// Role with flags, limits and password, and the mark that it is ours.
pub(crate) async fn role(connection: &mut PgConnection, tenant: &Tenant) -> Result<(), TenantError> {
    let mark = role_mark(connection, tenant.name.as_str()).await?;
    write_role(connection, tenant, mark.as_deref()).await
}

/// Role with flags, limits and password, and the mark that it is ours. One message, which is one transaction:
/// the role is there with its mark and limits, or not at all. It need not wait for the disk: the making of
/// the database, or the next change of it, does, and what comes later in the log keeps what came before.
pub(crate) async fn write_role(
    connection: &mut PgConnection,
    tenant: &Tenant,
    mark: Option<&str>,
) -> Result<(), TenantError> {
    let name = tenant.name.as_str();
    let verifier = scram_verifier(&tenant.password)?;
    let ours = mark_of(tenant.allocation);
    let verb = match mark {
        None => "; CREATE ROLE ",
        Some(mark) if mark == ours => "; ALTER ROLE ",
        Some(_) => return Err(TenantError::NameTaken(name.to_owned())),
    };
    let mut message = Statement::new("SET LOCAL synchronous_commit = off")
        .sql(verb)
        .identifier(name)
        .sql(" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT ")
        .sql(tenant.limits.connections)
        .sql(" PASSWORD ")
        .literal(&verifier)
        .sql("; COMMENT ON ROLE ")
        .identifier(name)
        .sql(" IS ")
        .literal(&ours);
    for (setting, value) in [
        (" SET temp_file_limit = ", tenant.limits.temp_file_limit),
        (" SET statement_timeout = ", tenant.limits.statement_timeout),
        (" SET idle_in_transaction_session_timeout = ", tenant.limits.idle_in_transaction_session_timeout),
    ] {
        message = message.sql("; ALTER ROLE ").identifier(name).sql(setting).literal(value);
    }
    owner::odoos_list(message.sql("; "), name).execute(connection).await?;
    Ok(())
}

/// Nobody logs in as this role any more, and nobody is.
pub(crate) async fn close(connection: &mut PgConnection, role: &str) -> sqlx::Result<()> {
    Statement::new("ALTER ROLE ").identifier(role).sql(" NOLOGIN").execute(&mut *connection).await?;
    end_sessions(connection, role).await
}

/// Ends the sessions of a role, and waits some seconds for each.
pub(crate) async fn end_sessions(connection: &mut PgConnection, role: &str) -> sqlx::Result<()> {
    sqlx::query("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1")
        .bind(role)
        .execute(connection)
        .await?;
    Ok(())
}
