//! What the provider shall be told: written before the call, closed after it.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{corrupt, readable};
use crate::domain::invoice::words;
use crate::domain::money::Money;

words! {
    /// What the provider shall do.
    CallKind, UnknownCallKind, {
        /// Another plan.
        Change = "change",
        /// No other plan after all.
        UndoChange = "undo_change",
        /// End a subscription.
        Cancel = "cancel",
        /// Do not end it after all.
        UndoCancel = "undo_cancel",
        /// Take note of money that is here.
        Payment = "payment",
        /// Owe the customer something.
        Credit = "credit",
        /// Ask no more for an invoice.
        WriteOff = "write_off",
        /// Take an invoice back.
        Void = "void",
        /// Give money back.
        Refund = "refund",
    }
}

words! {
    /// What became of a call.
    CallState, UnknownCallState, {
        /// It is told until it was heard.
        Waiting = "waiting",
        /// The provider did it.
        Done = "done",
        /// The provider will never do it.
        Refused = "refused",
        /// A wish that nobody waits for any more.
        Dropped = "dropped",
    }
}

impl CallKind {
    /// It is told until it was heard; else it is a wish that ends with its request.
    pub fn is_lasting(self) -> bool {
        matches!(self, Self::Payment | Self::Credit | Self::WriteOff | Self::Void | Self::Refund)
    }
}

/// A call, and what became of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Row, and the key of a credit.
    pub id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// About which subscription.
    pub subscription_id: Option<Uuid>,
    /// What.
    pub kind: CallKind,
    /// Payment or invoice.
    pub subject_id: Option<Uuid>,
    /// Plan, reason, amount.
    pub details: Value,
    /// Tries so far.
    pub attempts: i32,
    /// Whether it was answered.
    pub state: CallState,
}

impl Call {
    /// A word of its details.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.details.get(name).and_then(Value::as_str)
    }

    /// The amount in its details.
    pub fn amount(&self) -> Option<Money> {
        let minor = self.details.get("amount_minor").and_then(Value::as_i64)?;
        Some(Money::new(minor, self.text("currency")?.parse().ok()?))
    }
}

struct Row {
    id: Uuid,
    customer_id: Uuid,
    subscription_id: Option<Uuid>,
    kind: String,
    subject_id: Option<Uuid>,
    details: Value,
    attempts: i32,
    state: String,
}

impl TryFrom<Row> for Call {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            kind: row.kind.parse().map_err(corrupt)?,
            state: row.state.parse().map_err(corrupt)?,
            id: row.id,
            customer_id: row.customer_id,
            subscription_id: row.subscription_id,
            subject_id: row.subject_id,
            details: row.details,
            attempts: row.attempts,
        })
    }
}

/// How an amount stands in the details.
pub fn amount(money: Money) -> Value {
    serde_json::json!({ "amount_minor": money.minor(), "currency": money.currency().to_string() })
}

/// Queues a lasting call, once for its key. `None`: it was queued before.
pub async fn queue(
    connection: &mut PgConnection,
    kind: CallKind,
    customer: Uuid,
    subject: Option<Uuid>,
    key: &str,
    details: &Value,
) -> sqlx::Result<Option<Uuid>> {
    queue_for(connection, kind, customer, subject, key, details, None).await
}

/// The same, told at `at`, in real time, unless somebody tells it before; `None`: at once.
pub async fn queue_for(
    connection: &mut PgConnection,
    kind: CallKind,
    customer: Uuid,
    subject: Option<Uuid>,
    key: &str,
    details: &Value,
    at: Option<OffsetDateTime>,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "INSERT INTO provider_calls (id, customer_id, kind, subject_id, key, details, next_at)
         VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, now()))
         ON CONFLICT (key) DO NOTHING RETURNING id",
        Uuid::now_v7(),
        customer,
        kind.as_str(),
        subject,
        key,
        details,
        at,
    )
    .fetch_optional(connection)
    .await
}

/// Refunds of a payment that wait, in all.
pub async fn refunds_waiting(db: impl PgExecutor<'_>, payment: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum((details ->> 'amount_minor')::bigint), 0)::bigint AS "sum!" FROM provider_calls
           WHERE subject_id = $1 AND kind = 'refund' AND state = 'waiting'"#,
        payment,
    )
    .fetch_one(db)
    .await
}

/// The call that was queued with a key.
pub async fn find_by_key(db: impl PgExecutor<'_>, key: &str) -> sqlx::Result<Option<Call>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, customer_id, subscription_id, kind, subject_id, details, attempts, state FROM provider_calls WHERE key = $1",
        key,
    )
    .fetch_optional(db)
    .await?;
    row.map(Call::try_from).transpose()
}

/// Writes down a wish about a subscription; the sweep looks after it at `check_at`. The same wish again is
/// the same row. `None`: another one waits.
pub async fn wish(
    connection: &mut PgConnection,
    kind: CallKind,
    customer: Uuid,
    subscription: Uuid,
    details: &Value,
    check_at: OffsetDateTime,
) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "INSERT INTO provider_calls (id, customer_id, subscription_id, kind, details, next_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (subscription_id) WHERE state = 'waiting' AND kind IN ('change', 'undo_change', 'cancel', 'undo_cancel')
             DO UPDATE SET next_at = excluded.next_at
             WHERE provider_calls.kind = excluded.kind AND provider_calls.details = excluded.details
         RETURNING id",
        Uuid::now_v7(),
        customer,
        subscription,
        kind.as_str(),
        details,
        check_at,
    )
    .fetch_optional(connection)
    .await
}

/// All that wait for a customer, oldest first.
pub async fn waiting(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<Vec<Call>> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, customer_id, subscription_id, kind, subject_id, details, attempts, state FROM provider_calls
         WHERE customer_id = $1 AND state = 'waiting' ORDER BY created_at, id",
        customer,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter().map(Call::try_from).collect()
}

/// Takes calls that are due, and keeps other replicas off them for `hold`.
pub async fn claim(
    db: impl PgExecutor<'_>,
    now: OffsetDateTime,
    hold: Duration,
    limit: i64,
) -> sqlx::Result<Vec<Call>> {
    let rows = sqlx::query_as!(
        Row,
        "UPDATE provider_calls SET next_at = $2, attempts = attempts + 1 WHERE id IN (
             SELECT id FROM provider_calls WHERE state = 'waiting' AND next_at <= $1 ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING id, customer_id, subscription_id, kind, subject_id, details, attempts, state",
        now,
        now + hold,
        limit,
    )
    .fetch_all(db)
    .await?;
    readable("provider_calls", rows)
}

/// Another try later.
pub async fn postpone(db: impl PgExecutor<'_>, id: Uuid, at: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE provider_calls SET next_at = $2 WHERE id = $1 AND state = 'waiting'", id, at)
        .execute(db)
        .await?;
    Ok(())
}

/// The answer is known: done, refused, dropped. Snapshots that were pulled before it are old from now on.
/// `false`: it was known before.
pub async fn close(db: impl PgExecutor<'_>, id: Uuid, state: &str, outcome: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "WITH closed AS (UPDATE provider_calls SET state = $2, outcome = $3, finished_at = now() WHERE id = $1 AND state = 'waiting' RETURNING customer_id)
         UPDATE customers SET sync_seq = sync_seq + 1 FROM closed WHERE customers.id = closed.customer_id",
        id,
        state,
        outcome,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A wish that was carried out before its subscription could show it, such as by an engine of ours: nothing
/// waits for it any more.
pub async fn drop_of_subscription(db: impl PgExecutor<'_>, subscription: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE provider_calls SET state = 'dropped', finished_at = now(), outcome = 'ended' WHERE subscription_id = $1 AND state = 'waiting'",
        subscription,
    )
    .execute(db)
    .await?;
    Ok(())
}
