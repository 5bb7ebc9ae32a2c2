//! Reads for operators, and the one change that they may make: send again.

use serde_json::Value;
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use super::story::note;
use runtime::page::Page;

/// A row of the history.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Row.
    pub id: Uuid,
    /// Address; empty until it was looked up.
    pub recipient: String,
    /// Registry name.
    pub template_name: String,
    /// Subject line.
    pub subject: String,
    /// queued, sending, sent, failed, cancelled.
    pub status: String,
    /// Attempts so far.
    pub attempts: i32,
    /// When the server took it.
    pub sent_at: Option<OffsetDateTime>,
    /// When it was ordered.
    pub created_at: OffsetDateTime,
}

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// State word.
    pub status: Option<String>,
    /// Registry name.
    pub template_name: Option<String>,
    /// Whose.
    pub customer_id: Option<Uuid>,
    /// Ordered at or after.
    pub from: Option<OffsetDateTime>,
    /// Ordered before.
    pub to: Option<OffsetDateTime>,
}

/// A page of the history, newest first, and the number of all rows.
pub async fn list(pool: &PgPool, filter: &Filter, page: Page) -> sqlx::Result<(Vec<Summary>, i64)> {
    let rows = sqlx::query_as!(
        Summary,
        r#"SELECT id, coalesce(recipient, '') AS "recipient!", template_name, subject, status, attempts, sent_at, created_at FROM emails
           WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR template_name = $2) AND ($3::uuid IS NULL OR customer_id = $3)
             AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5)
           ORDER BY created_at DESC, id DESC LIMIT $6 OFFSET $7"#,
        filter.status,
        filter.template_name,
        filter.customer_id,
        filter.from,
        filter.to,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM emails
           WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR template_name = $2) AND ($3::uuid IS NULL OR customer_id = $3)
             AND ($4::timestamptz IS NULL OR created_at >= $4) AND ($5::timestamptz IS NULL OR created_at < $5)"#,
        filter.status,
        filter.template_name,
        filter.customer_id,
        filter.from,
        filter.to,
    )
    .fetch_one(pool)
    .await?;
    Ok((rows, total))
}

/// One mail with its story.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The row of the history.
    pub summary: Summary,
    /// Variables without the secret ones.
    pub variables: Value,
    /// `Message-ID`.
    pub message_id: String,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Something that happened to a mail.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub at: OffsetDateTime,
    /// Kind word.
    pub kind: String,
    /// More.
    pub detail: String,
}

/// One mail, never its secret variables.
pub async fn detail(pool: &PgPool, id: Uuid) -> sqlx::Result<Option<Detail>> {
    let Some(row) = sqlx::query!(
        r#"SELECT id, coalesce(recipient, '') AS "recipient!", template_name, subject, status, attempts, sent_at, created_at,
                  variables, message_id, last_error
           FROM emails WHERE id = $1"#,
        id,
    )
    .fetch_optional(pool)
    .await?
    else {
        return Ok(None);
    };
    let events = sqlx::query_as!(
        Event,
        "SELECT at, kind, detail FROM email_events WHERE email_id = $1 ORDER BY id",
        id
    )
    .fetch_all(pool)
    .await?;
    Ok(Some(Detail {
        summary: Summary {
            id: row.id,
            recipient: row.recipient,
            template_name: row.template_name,
            subject: row.subject,
            status: row.status,
            attempts: row.attempts,
            sent_at: row.sent_at,
            created_at: row.created_at,
        },
        variables: row.variables,
        message_id: row.message_id,
        last_error: row.last_error,
        events,
    }))
}

/// Queues a failed mail again, with the operator's name and reason in its story (SEC-17). `needs_secrets`:
/// only while they are still there. `false`: the mail is not in a state to be sent again.
pub async fn requeue(pool: &PgPool, id: Uuid, needs_secrets: bool, story: &str) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    let done = sqlx::query!(
        "UPDATE emails SET status = 'queued', attempts = 0, next_attempt_at = clock_timestamp()
         WHERE id = $1 AND status = 'failed' AND (NOT $2 OR secret_variables IS NOT NULL)",
        id,
        needs_secrets,
    )
    .execute(&mut *tx)
    .await?
    .rows_affected()
        == 1;
    if done {
        note(&mut tx, id, "resent", story).await?;
        sqlx::query!("SELECT pg_notify('emails', '')").execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(done)
}

/// Mails that wait or are on their way.
pub async fn depth(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM emails WHERE status IN ('queued', 'sending')"#)
        .fetch_one(pool)
        .await
}

/// Age of the oldest mail that should have been sent by now.
pub async fn oldest_waiting_seconds(pool: &PgPool) -> sqlx::Result<i64> {
    let age = sqlx::query_scalar!(
        "SELECT extract(epoch FROM clock_timestamp() - min(created_at))::bigint FROM emails WHERE status IN ('queued', 'sending')"
    )
    .fetch_one(pool)
    .await?;
    Ok(age.unwrap_or(0))
}

/// When the newest sent mail was sent.
pub async fn last_sent(pool: &PgPool) -> sqlx::Result<Option<OffsetDateTime>> {
    sqlx::query_scalar!("SELECT max(sent_at) FROM emails WHERE sent_at IS NOT NULL").fetch_one(pool).await
}
