//! What operators did (SEC-17).

use sqlx::PgConnection;
use uuid::Uuid;

/// A row of the audit log.
#[derive(Debug, Clone, Default)]
pub struct Audit<'a> {
    /// User id or service name.
    pub actor: &'a str,
    /// Role then.
    pub role: &'a str,
    /// What was done.
    pub action: &'a str,
    /// To whom.
    pub customer_id: Option<Uuid>,
    /// To what.
    pub subject_id: Option<Uuid>,
    /// Why.
    pub reason: &'a str,
    /// Of which request.
    pub request_id: &'a str,
    /// More.
    pub details: serde_json::Value,
}

/// Writes it in the transaction of the action.
pub async fn write(connection: &mut PgConnection, row: &Audit<'_>) -> sqlx::Result<()> {
    let details = if row.details.is_null() { serde_json::json!({}) } else { row.details.clone() };
    sqlx::query!(
        "INSERT INTO audit_log (id, actor, role, action, customer_id, subject_id, reason, request_id, details) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        Uuid::now_v7(),
        row.actor,
        row.role,
        row.action,
        row.customer_id,
        row.subject_id,
        row.reason,
        row.request_id,
        details,
    )
    .execute(connection)
    .await?;
    Ok(())
}
