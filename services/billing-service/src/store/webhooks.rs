//! Hooks as they came (BIL-30): a table of hints, the same for every sender.

use runtime::page::Page;
use sha2::{Digest as _, Sha256};
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{corrupt, readable};
use crate::domain::webhook::{Webhook, WebhookFilter, WebhookState};

struct Row {
    id: Uuid,
    provider: String,
    received_at: OffsetDateTime,
    body: Vec<u8>,
    content_type: String,
    deliveries: i32,
    state: String,
    attempts: i32,
    processed_at: Option<OffsetDateTime>,
    customer_id: Option<Uuid>,
    outcome: String,
}

impl TryFrom<Row> for Webhook {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            state: row.state.parse().map_err(corrupt)?,
            id: row.id,
            provider: row.provider,
            received_at: row.received_at,
            body: row.body,
            content_type: row.content_type,
            deliveries: row.deliveries,
            attempts: row.attempts,
            processed_at: row.processed_at,
            customer_id: row.customer_id,
            outcome: row.outcome,
        })
    }
}

/// Stores a hook in one insert; an equal one that still waits is counted there, and is looked at at once.
/// Gives the id of the row.
pub async fn store(
    db: impl PgExecutor<'_>,
    provider: &str,
    body: &[u8],
    content_type: &str,
) -> sqlx::Result<Uuid> {
    let digest: [u8; 32] = Sha256::digest(body).into();
    sqlx::query_scalar!(
        "INSERT INTO webhook_inbox (id, provider, body, content_type, digest) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (provider, digest) WHERE state = 'new'
             DO UPDATE SET deliveries = webhook_inbox.deliveries + 1, next_at = least(webhook_inbox.next_at, now())
         RETURNING id",
        Uuid::now_v7(),
        provider,
        body,
        content_type,
        digest.as_slice(),
    )
    .fetch_one(db)
    .await
}

/// Takes hooks that wait, oldest first, and keeps other replicas off them for `hold`.
pub async fn claim(
    db: impl PgExecutor<'_>,
    now: OffsetDateTime,
    hold: Duration,
    limit: i64,
) -> sqlx::Result<Vec<Webhook>> {
    let rows = sqlx::query_as!(
        Row,
        "UPDATE webhook_inbox SET attempts = attempts + 1, next_at = $2 WHERE id IN (
             SELECT id FROM webhook_inbox WHERE state = 'new' AND next_at <= $1 ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING id, provider, received_at, body, content_type, deliveries, state, attempts, processed_at, customer_id, outcome",
        now,
        now + hold,
        limit,
    )
    .fetch_all(db)
    .await?;
    readable("webhook_inbox", rows)
}

/// It was looked at. One that came again meanwhile waits for another look: what it hints at may be newer than
/// that which was seen.
pub async fn finish(
    db: impl PgExecutor<'_>,
    hook: &Webhook,
    state: WebhookState,
    customer: Option<Uuid>,
    outcome: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE webhook_inbox SET customer_id = coalesce($4, customer_id), outcome = $5,
                state = CASE WHEN deliveries = $2 THEN $3 ELSE state END,
                processed_at = CASE WHEN deliveries = $2 THEN $6::timestamptz END,
                next_at = $6
         WHERE id = $1 AND state = 'new'",
        hook.id,
        hook.deliveries,
        state.as_str(),
        customer,
        outcome,
        now,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// It could not be looked at now.
pub async fn postpone(
    db: impl PgExecutor<'_>,
    id: Uuid,
    outcome: &str,
    next_at: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE webhook_inbox SET outcome = $2, next_at = $3 WHERE id = $1 AND state = 'new'",
        id,
        outcome,
        next_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets a hook wait once more; one that waits is looked at at once. When an equal one waits already, it is
/// that one. `None`: there is none.
pub async fn replay(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Webhook>> {
    let found = sqlx::query_scalar!(
        "SELECT coalesce((SELECT w.id FROM webhook_inbox w WHERE w.provider = h.provider AND w.digest = h.digest AND w.state = 'new'), h.id)
         FROM webhook_inbox h WHERE h.id = $1 FOR UPDATE",
        id,
    )
    .fetch_optional(&mut *connection)
    .await?
    .flatten();
    let Some(id) = found else { return Ok(None) };
    let row = sqlx::query_as!(
        Row,
        "UPDATE webhook_inbox SET state = 'new', attempts = 0, next_at = $2, processed_at = NULL, outcome = '' WHERE id = $1
         RETURNING id, provider, received_at, body, content_type, deliveries, state, attempts, processed_at, customer_id, outcome",
        id,
        now,
    )
    .fetch_optional(connection)
    .await?;
    row.map(Webhook::try_from).transpose()
}

/// Newest first, and the number of all.
pub async fn list(pool: &PgPool, filter: &WebhookFilter, page: Page) -> sqlx::Result<(Vec<Webhook>, i64)> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, provider, received_at, body, content_type, deliveries, state, attempts, processed_at, customer_id, outcome
         FROM webhook_inbox WHERE ($1::text IS NULL OR provider = $1) AND ($2::text IS NULL OR state = $2)
         ORDER BY received_at DESC, id DESC LIMIT $3 OFFSET $4",
        filter.provider,
        filter.state,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM webhook_inbox WHERE ($1::text IS NULL OR provider = $1) AND ($2::text IS NULL OR state = $2)"#,
        filter.provider,
        filter.state,
    )
    .fetch_one(pool)
    .await?;
    Ok((readable("webhook_inbox", rows)?, total))
}

/// How many wait, for the alert.
pub async fn waiting(db: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM webhook_inbox WHERE state = 'new'"#)
        .fetch_one(db)
        .await
}
