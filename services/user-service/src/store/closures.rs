//! Table `closures`.

use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// A closed account whose instances are to be terminated.
#[derive(Debug, Clone, Copy)]
pub struct Due {
    /// Whose.
    pub user_id: Uuid,
    /// Tries so far, with this one.
    pub attempts: i32,
}

/// Begins a closure.
pub async fn insert(
    connection: &mut PgConnection,
    user: Uuid,
    erase_after: OffsetDateTime,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO closures (user_id, created_at, erase_after, next_try) VALUES ($1, $2, $3, $2) ON CONFLICT DO NOTHING",
        user,
        now,
        erase_after
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Claims closures whose instances are to be terminated.
pub async fn claim(
    connection: &mut PgConnection,
    limit: i64,
    lease: Duration,
    now: OffsetDateTime,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        "UPDATE closures SET attempts = attempts + 1, next_try = $3 WHERE user_id IN (
             SELECT user_id FROM closures WHERE erased_at IS NULL AND next_try <= $1
             ORDER BY next_try LIMIT $2 FOR UPDATE SKIP LOCKED)
         RETURNING user_id, attempts",
        now,
        limit,
        now + lease
    )
    .fetch_all(connection)
    .await
}

/// instance-service took it over. It is asked once more a minute after the closing: a create that began just
/// before it may have come through since.
pub async fn mark_terminated(
    connection: &mut PgConnection,
    user: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE closures SET terminated_at = $2,
                next_try = CASE WHEN created_at + interval '1 minute' <= $2 THEN 'infinity'
                                ELSE created_at + interval '1 minute' END
         WHERE user_id = $1",
        user,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Tries again at `next_try`.
pub async fn retry_at(
    connection: &mut PgConnection,
    user: Uuid,
    next_try: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!("UPDATE closures SET next_try = $2 WHERE user_id = $1", user, next_try)
        .execute(connection)
        .await?;
    Ok(())
}

/// Closures whose instances are not terminated yet.
pub async fn pending(connection: &mut PgConnection) -> sqlx::Result<i64> {
    let count = sqlx::query_scalar!("SELECT count(*) FROM closures WHERE terminated_at IS NULL")
        .fetch_one(connection)
        .await?;
    Ok(count.unwrap_or(0))
}

/// Somebody who is to be erased now, besides those for whom it failed in this round.
pub async fn find_erasable(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    besides: &[Uuid],
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "SELECT user_id FROM closures
         WHERE terminated_at IS NOT NULL AND erased_at IS NULL AND erase_after <= $1
             AND user_id <> ALL($2)
         ORDER BY erase_after LIMIT 1",
        now,
        besides
    )
    .fetch_optional(connection)
    .await
}

/// The same person, locked; false when another replica was quicker.
pub async fn lock_erasable(connection: &mut PgConnection, user: Uuid) -> sqlx::Result<bool> {
    let found = sqlx::query_scalar!(
        "SELECT user_id FROM closures WHERE user_id = $1 AND erased_at IS NULL FOR UPDATE SKIP LOCKED",
        user
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// The person is erased.
pub async fn mark_erased(connection: &mut PgConnection, user: Uuid, now: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE closures SET erased_at = $2 WHERE user_id = $1", user, now)
        .execute(connection)
        .await?;
    Ok(())
}
