//! The domain clock: an offset in SQL, the same for all replicas, only forward.

use sqlx::{PgConnection, PgExecutor};
use time::{Duration, OffsetDateTime};

/// How far billing time is ahead of real time, and the real time of the database, which is the same for all
/// replicas.
pub async fn offset(db: impl PgExecutor<'_>) -> sqlx::Result<(Duration, OffsetDateTime)> {
    let row = sqlx::query!(r#"SELECT offset_seconds, clock_timestamp() AS "now!" FROM billing_clock"#)
        .fetch_one(db)
        .await?;
    Ok((Duration::seconds(row.offset_seconds), row.now))
}

/// Real time, as the database tells it.
pub async fn real(db: impl PgExecutor<'_>) -> sqlx::Result<OffsetDateTime> {
    sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(db).await
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
