//! Facts of billing that wait to be followed: heard in the transaction of their inbox row, followed when
//! billing was asked.

use sqlx::PgConnection;
use uuid::Uuid;

/// Channel of PostgreSQL that tells of news.
pub const CHANNEL: &str = "billing_news";

/// A fact that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// The instance.
    pub instance_id: Uuid,
    /// The subscription that it was about.
    pub subscription_id: Uuid,
    /// Reason word of billing.
    pub reason: Option<String>,
    /// Which of the facts.
    pub revision: i64,
}

/// Keeps a fact until it was followed, and wakes those who follow.
pub async fn hear(
    connection: &mut PgConnection,
    instance: Uuid,
    subscription: Uuid,
    reason: Option<&str>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "INSERT INTO billing_news (instance_id, subscription_id, reason, not_before) VALUES ($1, $2, $3, now())
         ON CONFLICT (instance_id, subscription_id) DO UPDATE SET reason = excluded.reason, not_before = now(),
             revision = billing_news.revision + 1, attempts = 0",
        instance,
        subscription,
        reason,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("SELECT pg_notify($1, '')", CHANNEL).execute(connection).await.map(drop)
}

/// Takes what is due. It is due again later, should it not be followed: after five seconds, then twice as
/// long each time, up to five minutes.
pub async fn take(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<News>> {
    sqlx::query_as!(
        News,
        "WITH due AS (
             SELECT instance_id, subscription_id FROM billing_news WHERE not_before <= now()
             ORDER BY not_before LIMIT $1 FOR UPDATE SKIP LOCKED)
         UPDATE billing_news news SET attempts = news.attempts + 1,
             not_before = now() + least(interval '5 minutes', interval '5 seconds' * power(2, least(news.attempts, 10)))
         FROM due WHERE news.instance_id = due.instance_id AND news.subscription_id = due.subscription_id
         RETURNING news.instance_id, news.subscription_id, news.reason, news.revision",
        limit,
    )
    .fetch_all(connection)
    .await
}

/// It was followed. What was heard since then stays.
pub async fn followed(connection: &mut PgConnection, news: &News) -> sqlx::Result<()> {
    sqlx::query!(
        "DELETE FROM billing_news WHERE instance_id = $1 AND subscription_id = $2 AND revision = $3",
        news.instance_id,
        news.subscription_id,
        news.revision,
    )
    .execute(connection)
    .await
    .map(drop)
}
