//! Payments on their way through a gateway: begun when, asked about when, given up when. All times here are
//! real ones.

use sqlx::{PgConnection, PgExecutor};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::payments;
use crate::domain::payment::Payment;
use crate::domain::payment::PaymentState;

/// A payment whose gateway is to be asked.
#[derive(Debug, Clone)]
pub struct Due {
    /// The payment.
    pub id: Uuid,
    /// When it was begun.
    pub begun_at: OffsetDateTime,
    /// Until when the customer may take.
    pub expires_at: OffsetDateTime,
    /// Looks so far, this one too.
    pub polls: i32,
}

/// From now on its gateway is asked. In the transaction that writes the payment.
pub async fn begin(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
    patience: Duration,
    first: Duration,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payments SET begun_at = $2, expires_at = $3, next_poll_at = $4 WHERE id = $1",
        id,
        now,
        now + patience,
        now + first,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the gateway said of its beginning.
pub async fn note_begun(
    db: impl PgExecutor<'_>,
    id: Uuid,
    poll_url: &str,
    redirect_url: &str,
    gateway_reference: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payments SET poll_url = $2, redirect_url = $3,
                gateway_reference = CASE WHEN $4 = '' THEN gateway_reference ELSE $4 END, updated_at = now()
         WHERE id = $1 AND poll_url = ''",
        id,
        poll_url,
        redirect_url,
        gateway_reference,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The gateway's own name of it, its word, and where it can be asked if that was not known.
pub async fn note_word(
    connection: &mut PgConnection,
    id: Uuid,
    gateway_reference: &str,
    word: &str,
    poll_url: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE payments SET gateway_status = $3, gateway_reference = CASE WHEN $2 = '' THEN gateway_reference ELSE $2 END,
                poll_url = CASE WHEN poll_url = '' THEN $4 ELSE poll_url END, updated_at = now()
         WHERE id = $1",
        id,
        gateway_reference,
        word,
        poll_url,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes payments that are due, longest due first, and keeps other replicas off them for `hold`.
pub async fn claim(
    db: impl PgExecutor<'_>,
    now: OffsetDateTime,
    hold: Duration,
    limit: i64,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        r#"UPDATE payments SET polls = polls + 1, next_poll_at = $2 WHERE id IN (
               SELECT id FROM payments WHERE next_poll_at <= $1 AND begun_at IS NOT NULL ORDER BY next_poll_at LIMIT $3 FOR UPDATE SKIP LOCKED)
           RETURNING id, begun_at AS "begun_at!", expires_at AS "expires_at!", polls"#,
        now,
        now + hold,
        limit,
    )
    .fetch_all(db)
    .await
}

/// When it is asked about again; none: not any more.
pub async fn schedule(
    db: impl PgExecutor<'_>,
    id: Uuid,
    next_at: Option<OffsetDateTime>,
) -> sqlx::Result<()> {
    sqlx::query!("UPDATE payments SET next_poll_at = $2 WHERE id = $1", id, next_at).execute(db).await?;
    Ok(())
}

/// The payment of an invoice that is on its way through a gateway. The invoice must be locked, so that there
/// is at most one.
pub async fn on_its_way(connection: &mut PgConnection, invoice: Uuid) -> sqlx::Result<Option<Payment>> {
    let id = sqlx::query_scalar!(
        "SELECT id FROM payments WHERE invoice_id = $1 AND state = $2 AND begun_at IS NOT NULL ORDER BY created_at DESC LIMIT 1",
        invoice,
        PaymentState::Pending.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    match id {
        Some(id) => payments::find(connection, id).await,
        None => Ok(None),
    }
}
