//! Subscriptions: the row and its changes.

mod lists;
mod reminders;
mod row;

use sqlx::{PgConnection, PgExecutor};
use time::OffsetDateTime;
use uuid::Uuid;

pub use self::lists::{list, live, live_ids, live_of_customer, of_customer, of_ids};
pub use self::reminders::{forget_reminders, next_reminder, remind, reminders};
use self::row::Row;
use crate::domain::money::Money;
use crate::domain::period::BillingPeriod;
use crate::domain::subscription::{Beginning, Subscription};

/// A subscription to be written.
#[derive(Debug, Clone)]
pub struct NewRow<'a> {
    /// Our id.
    pub id: Uuid,
    /// Order that makes it.
    pub order_id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// For which instance.
    pub instance_id: Uuid,
    /// Plan.
    pub plan_name: &'a str,
    /// What the plan gives now.
    pub entitlement_version: i64,
    /// How often it is billed.
    pub billing_period: BillingPeriod,
    /// Price of a period.
    pub price: Money,
    /// How it begins.
    pub beginning: Beginning,
    /// Who keeps it.
    pub provider: &'a str,
    /// The keeper's own id.
    pub provider_id: &'a str,
    /// Now.
    pub created_at: OffsetDateTime,
}

/// Writes it; `false`: it is there already.
pub async fn insert(connection: &mut PgConnection, new: &NewRow<'_>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO subscriptions (id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor, currency, status,
             trial_ends_at, anchor_day, current_period_start, current_period_end, provider, provider_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8::bigint, $9, $10, $11, $12, $13, $14, $15, $16, $17, $17)
         ON CONFLICT (id) DO NOTHING",
        new.id,
        new.order_id,
        new.customer_id,
        new.instance_id,
        new.plan_name,
        new.entitlement_version,
        new.billing_period.as_str(),
        new.price.minor(),
        new.price.currency().to_string(),
        new.beginning.status.as_str(),
        new.beginning.trial_ends_at,
        i16::from(new.beginning.anchor_day),
        new.beginning.period.map(|(start, _)| start),
        new.beginning.period.map(|(_, end)| end),
        new.provider,
        new.provider_id,
        new.created_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// By its id.
pub async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<Subscription>> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor::bigint AS "price_minor!",
                  currency AS "currency!", status, trial_ends_at, current_period_start, current_period_end, cancel_at, ended_at, end_reason, provider,
                  provider_id, created_at, anchor_day, ladder_state, ladder_since, pending_plan_name, pending_entitlement_version, pending_effective_at,
                  pending_invoice_id, cancel_reason, coupon
           FROM subscriptions WHERE id = $1"#,
        id,
    )
    .fetch_optional(db)
    .await?;
    row.map(Subscription::try_from).transpose()
}

/// Ends it now, without the offer that it had. `None`: there is none, or it had ended.
pub async fn end(
    connection: &mut PgConnection,
    id: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Subscription>> {
    let done = sqlx::query!(
        "UPDATE subscriptions SET status = 'ended', ended_at = $3, end_reason = $2, version = version + 1,
             pending_plan_name = CASE WHEN pending_invoice_id IS NULL THEN pending_plan_name END,
             pending_entitlement_version = CASE WHEN pending_invoice_id IS NULL THEN pending_entitlement_version END,
             pending_invoice_id = NULL, updated_at = $3
         WHERE id = $1 AND status <> 'ended'",
        id,
        reason,
        now,
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    find(connection, id).await
}

/// Brings one back that had ended with its instance, unless the instance has another one by now.
pub async fn revive(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<Option<Subscription>> {
    let done = sqlx::query!(
        "UPDATE subscriptions s SET status = CASE WHEN trial_ends_at > $2 THEN 'trialing' ELSE 'active' END, ended_at = NULL, end_reason = NULL,
                version = version + 1, updated_at = $2
         WHERE id = $1 AND status = 'ended' AND end_reason = 'terminated'
           AND NOT EXISTS (SELECT FROM subscriptions o WHERE o.instance_id = s.instance_id AND o.status <> 'ended')",
        id,
        now,
    )
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    find(connection, id).await
}

/// As it stands, kept from others until the transaction ends. It is the first lock of every change of money:
/// then invoices, then payments.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Subscription>> {
    sqlx::query!("SELECT id FROM subscriptions WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(&mut *connection)
        .await?;
    find(connection, id).await
}

/// Saves what may change of a locked subscription, and lets the engine look again.
pub async fn save(
    connection: &mut PgConnection,
    row: &Subscription,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE subscriptions SET plan_name = $2, entitlement_version = $3, billing_period = $4, price_minor = $5::bigint, currency = $6, status = $7,
             trial_ends_at = $8, anchor_day = $9, current_period_start = $10, current_period_end = $11, cancel_at = $12, ended_at = $13, end_reason = $14,
             ladder_state = $15, ladder_since = $16, pending_plan_name = $17, pending_entitlement_version = $18, pending_effective_at = $19,
             pending_invoice_id = $20, cancel_reason = $21, coupon = $22, next_due_at = NULL, version = version + 1, updated_at = $23
         WHERE id = $1",
        row.id,
        row.plan_name,
        row.entitlement_version,
        row.billing_period.as_str(),
        row.price.minor(),
        row.price.currency().to_string(),
        row.status.as_str(),
        row.trial_ends_at,
        i16::from(row.anchor_day),
        row.current_period_start,
        row.current_period_end,
        row.cancel_at,
        row.ended_at,
        row.end_reason,
        row.dunning.as_str(),
        row.dunning_since,
        row.pending.as_ref().map(|pending| pending.plan_name.clone()),
        row.pending.as_ref().map(|pending| pending.entitlement_version),
        row.pending.as_ref().and_then(|pending| pending.effective_at),
        row.pending.as_ref().and_then(|pending| pending.invoice_id),
        row.cancel_reason,
        row.coupon,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Subscriptions for which something is due, the longest waiting first.
pub async fn due(db: impl PgExecutor<'_>, now: OffsetDateTime, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM subscriptions WHERE status <> 'ended' AND (next_due_at IS NULL OR next_due_at <= $1)
         ORDER BY next_due_at NULLS FIRST LIMIT $2",
        now,
        limit,
    )
    .fetch_all(db)
    .await
}

/// Nothing is due before then.
pub async fn set_next_due(connection: &mut PgConnection, id: Uuid, at: OffsetDateTime) -> sqlx::Result<()> {
    sqlx::query!("UPDATE subscriptions SET next_due_at = $2 WHERE id = $1", id, at)
        .execute(connection)
        .await?;
    Ok(())
}
