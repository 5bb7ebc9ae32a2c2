//! Table `audit_log`: what administrators changed, and why; in the transaction of the change (SEC-17).

use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::By;

/// Adds a row.
pub async fn add(
    conn: &mut PgConnection,
    by: &By,
    action: &str,
    target: &str,
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO audit_log (id, actor, role, action, target, reason, request_id, client_ip) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        Uuid::now_v7(),
        by.actor,
        by.role,
        action,
        target,
        reason,
        by.request_id,
        by.client_ip,
    )
    .execute(conn)
    .await?;
    Ok(())
}
