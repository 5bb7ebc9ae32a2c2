//! Table `audit_log`: what administrators changed, and why; in the transaction of the change (SEC-17).

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::caller::Caller;

/// Adds a row.
pub async fn add(
    connection: &mut PgConnection,
    caller: &Caller,
    action: &str,
    target: &str,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_log (id, actor, role, action, target, reason, request_id, client_ip) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        Uuid::now_v7(),
        caller.actor,
        caller.role,
        action,
        target,
        reason,
        caller.request_id,
        caller.client_ip,
    )
    .execute(connection)
    .await?;
    Ok(())
}
