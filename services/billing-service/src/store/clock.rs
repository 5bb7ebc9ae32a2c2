//! The domain clock: an offset in SQL, the same for all replicas, only forward.

use sqlx::{PgConnection, PgExecutor};
use time::Duration;

/// How far billing time is ahead of real time.
pub async fn offset(db: impl PgExecutor<'_>) -> sqlx::Result<Duration> {
    sqlx::query_scalar!("SELECT offset_seconds FROM billing_clock").fetch_one(db).await.map(Duration::seconds)
}

/// Moves it forward; the new offset.
pub async fn advance(connection: &mut PgConnection, by: Duration) -> sqlx::Result<Duration> {
    sqlx::query_scalar!(
        "UPDATE billing_clock SET offset_seconds = offset_seconds + $1, moved_at = now() RETURNING offset_seconds",
        by.whole_seconds(),
    )
    .fetch_one(connection)
    .await
    .map(Duration::seconds)
}
