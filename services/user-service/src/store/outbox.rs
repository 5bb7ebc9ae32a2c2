//! Table `outbox`: what an erasure takes out of it. Everything else about it is `messaging`'s.

use sqlx::PgConnection;
use uuid::Uuid;

/// Takes the texts out of the events on an erased person. What is not sent yet is still told, by id.
pub async fn erase(connection: &mut PgConnection, person: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE outbox SET payload = payload - 'detail' WHERE aggregate_id = $1 AND payload ? 'detail'",
        person
    )
    .execute(connection)
    .await?;
    Ok(())
}
