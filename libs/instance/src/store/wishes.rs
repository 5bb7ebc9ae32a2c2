//! Rows of `database_wishes`: databases that a plan wants on a server of another type (BIL-21, DBS-33).

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// Rest before a move that did not succeed is begun again: each try takes the instance off for a while.
const REST: Duration = Duration::hours(6);

/// A move that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseWish {
    /// Whose database.
    pub instance_id: Uuid,
    /// shared, dedicated.
    pub db_type: String,
    /// starter, standard, premium, enterprise.
    pub db_tier: String,
}

/// The plan wants it there from now on.
pub async fn set(
    connection: &mut PgConnection,
    wish: &DatabaseWish,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO database_wishes (instance_id, db_type, db_tier, not_before, created_at) VALUES ($1, $2, $3, $4, $4)
         ON CONFLICT (instance_id) DO UPDATE SET db_type = $2, db_tier = $3, not_before = $4, attempts = 0",
        wish.instance_id,
        wish.db_type,
        wish.db_tier,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Nothing is wished any more.
pub async fn clear(connection: &mut PgConnection, instance: Uuid) -> sqlx::Result<()> {
    sqlx::query!("DELETE FROM database_wishes WHERE instance_id = $1", instance).execute(connection).await?;
    Ok(())
}

/// A move was begun: if it fails, the next one comes after a rest.
pub async fn begun(connection: &mut PgConnection, instance: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE database_wishes SET attempts = attempts + 1, not_before = $2 WHERE instance_id = $1",
        instance,
        now + REST,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves of instances at rest that are due, the oldest first; wishes that came true go.
pub async fn due(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<DatabaseWish>> {
    sqlx::query!(
        "DELETE FROM database_wishes w USING instances i
         WHERE i.id = w.instance_id AND (i.db_type = w.db_type AND i.db_server_id IS NOT NULL OR i.status = 'purged')",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_as!(
        DatabaseWish,
        "SELECT w.instance_id, w.db_type, w.db_tier FROM database_wishes w JOIN instances i ON i.id = w.instance_id
         WHERE w.not_before <= $1 AND i.status IN ('running', 'stopped') AND i.provisioning_status = 'completed'
           AND NOT EXISTS (SELECT FROM operations o WHERE o.instance_id = i.id AND o.state IN ('queued', 'running'))
         ORDER BY w.not_before LIMIT $2",
        now,
        limit,
    )
    .fetch_all(connection)
    .await
}
