//! What operators and services did, and why; in the transaction of the action (SEC-17).

use sqlx::PgConnection;
use uuid::Uuid;

/// One row.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// User id or service name.
    pub actor: &'a str,
    /// Role word, or `service`.
    pub role: &'a str,
    /// Such as `suspend`, `monitoring.stop`, `purge`.
    pub action: &'a str,
    /// About which instance.
    pub instance: Option<Uuid>,
    /// Why.
    pub reason: &'a str,
    /// `X-Request-Id`.
    pub request_id: &'a str,
    /// Address of the user.
    pub client_ip: &'a str,
}

/// Adds a row.
pub async fn add(connection: &mut PgConnection, entry: &Entry<'_>) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_log (id, actor, role, action, instance_id, reason, request_id, client_ip) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        Uuid::now_v7(),
        entry.actor,
        entry.role,
        entry.action,
        entry.instance,
        entry.reason,
        entry.request_id,
        entry.client_ip,
    )
    .execute(connection)
    .await?;
    Ok(())
}
