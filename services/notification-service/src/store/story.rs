//! What happened to a mail, one row each.

use sqlx::PgConnection;
use uuid::Uuid;

/// Adds one.
pub async fn note(connection: &mut PgConnection, id: Uuid, kind: &str, detail: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO email_events (email_id, at, kind, detail) VALUES ($1, clock_timestamp(), $2, $3)",
        id,
        kind,
        detail,
    )
    .execute(connection)
    .await?;
    Ok(())
}
