//! Orders.

use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{corrupt, readable};

/// How far an order came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// Written; the provider may or may not know.
    Placed,
    /// The subscription exists.
    Subscribed,
    /// Taken back.
    Cancelled,
}

/// An order as it stands.
#[derive(Debug, Clone)]
pub struct Order {
    /// Row.
    pub id: Uuid,
    /// For which instance.
    pub instance_id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// Of which subscription.
    pub subscription_id: Uuid,
    /// Plan.
    pub plan_name: String,
    /// What the plan gave then.
    pub entitlement_version: i64,
    /// A trial was granted.
    pub trial: bool,
    /// How far it came.
    pub state: OrderState,
    /// The instance exists.
    pub confirmed_at: Option<OffsetDateTime>,
    /// The provider must still be told that it ended.
    pub provider_cancel_due: bool,
    /// When it was placed.
    pub created_at: OffsetDateTime,
}

struct Row {
    id: Uuid,
    instance_id: Uuid,
    customer_id: Uuid,
    subscription_id: Uuid,
    plan_name: String,
    entitlement_version: i64,
    trial: bool,
    state: String,
    confirmed_at: Option<OffsetDateTime>,
    provider_cancel_due: bool,
    created_at: OffsetDateTime,
}

#[derive(Debug, thiserror::Error)]
#[error("unknown order state {0:?}")]
struct UnknownState(String);

impl TryFrom<Row> for Order {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            state: match row.state.as_str() {
                "placed" => OrderState::Placed,
                "subscribed" => OrderState::Subscribed,
                "cancelled" => OrderState::Cancelled,
                _ => return Err(corrupt(UnknownState(row.state))),
            },
            id: row.id,
            instance_id: row.instance_id,
            customer_id: row.customer_id,
            subscription_id: row.subscription_id,
            plan_name: row.plan_name,
            entitlement_version: row.entitlement_version,
            trial: row.trial,
            confirmed_at: row.confirmed_at,
            provider_cancel_due: row.provider_cancel_due,
            created_at: row.created_at,
        })
    }
}

/// The live order of an instance.
pub async fn find_live(db: impl PgExecutor<'_>, instance: Uuid) -> sqlx::Result<Option<Order>> {
    let row = sqlx::query_as!(
        Row,
        "SELECT id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial, state, confirmed_at, provider_cancel_due, created_at
         FROM orders WHERE instance_id = $1 AND state <> 'cancelled'",
        instance,
    )
    .fetch_optional(db)
    .await?;
    row.map(Order::try_from).transpose()
}

/// The order that made a subscription, locked as [`lock`] does.
pub async fn of_subscription(
    connection: &mut PgConnection,
    subscription: Uuid,
) -> sqlx::Result<Option<Order>> {
    let id = sqlx::query_scalar!("SELECT id FROM orders WHERE subscription_id = $1", subscription)
        .fetch_optional(&mut *connection)
        .await?;
    match id {
        Some(id) => lock(connection, id).await,
        None => Ok(None),
    }
}

/// What an invoice calls the plan and the instance: the product, and the name that its owner gave it when it
/// was ordered.
pub async fn names(
    db: impl PgExecutor<'_>,
    instance: Uuid,
    plan: &str,
) -> sqlx::Result<Option<(String, Option<String>)>> {
    let row = sqlx::query!(
        "SELECT p.product, (SELECT o.settings ->> 'name' FROM orders o
                            WHERE o.instance_id = $1 AND o.settings ->> 'name' <> ''
                            ORDER BY o.created_at DESC LIMIT 1) AS name
         FROM plans p WHERE p.name = $2",
        instance,
        plan,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.product, row.name)))
}

/// The order as it stands, kept from others until the transaction ends, and its subscription before it: every
/// change of money takes them in this order.
pub async fn lock(connection: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Order>> {
    sqlx::query!(
        "SELECT s.id FROM subscriptions s WHERE s.id = (SELECT subscription_id FROM orders WHERE id = $1) FOR UPDATE",
        id
    )
    .fetch_optional(&mut *connection)
    .await?;
    let row = sqlx::query_as!(
        Row,
        "SELECT id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial, state, confirmed_at, provider_cancel_due, created_at
         FROM orders WHERE id = $1 FOR UPDATE",
        id,
    )
    .fetch_optional(connection)
    .await?;
    row.map(Order::try_from).transpose()
}

/// Writes the order with all its settings (BIL-08); the sweep looks at it `check_after` from now. `false`:
/// the instance has a live order.
pub async fn place(
    connection: &mut PgConnection,
    order: &Order,
    settings: &Value,
    check_after: Duration,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "INSERT INTO orders (id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial, settings, created_at, next_check_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (instance_id) WHERE state <> 'cancelled' DO NOTHING",
        order.id,
        order.instance_id,
        order.customer_id,
        order.subscription_id,
        order.plan_name,
        order.entitlement_version,
        order.trial,
        settings,
        order.created_at,
        order.created_at + check_after,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The subscription exists now. `false`: the order was taken back meanwhile.
pub async fn mark_subscribed(
    connection: &mut PgConnection,
    order: Uuid,
    next_check_at: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE orders SET state = 'subscribed', next_check_at = $2 WHERE id = $1 AND state IN ('placed', 'subscribed')",
        order,
        next_check_at,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The instance exists.
pub async fn confirm(db: impl PgExecutor<'_>, instance: Uuid, at: OffsetDateTime) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE orders SET confirmed_at = $2 WHERE instance_id = $1 AND state <> 'cancelled' AND confirmed_at IS NULL",
        instance,
        at,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes an order back. `false`: it was taken back before.
pub async fn cancel(
    connection: &mut PgConnection,
    order: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE orders SET state = 'cancelled', cancel_reason = $2, provider_cancel_due = true, next_check_at = $3
         WHERE id = $1 AND state <> 'cancelled'",
        order,
        reason,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Did the instance of an order have another one before, which was not merely tried?
pub async fn came_back(db: impl PgExecutor<'_>, order: Uuid, instance: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM orders WHERE instance_id = $2 AND id <> $1 AND (confirmed_at IS NOT NULL OR cancel_reason = 'reactivated')) AS "back!""#,
        order,
        instance,
    )
    .fetch_one(db)
    .await
}

/// The provider shall be told that the subscription ended.
pub async fn set_provider_cancel_due(
    db: impl PgExecutor<'_>,
    order: Uuid,
    due: bool,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query!(
        "UPDATE orders SET provider_cancel_due = $2, next_check_at = $3 WHERE id = $1",
        order,
        due,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes unfinished orders that are due, and keeps other replicas off them for `hold`.
pub async fn claim_open(
    db: impl PgExecutor<'_>,
    now: OffsetDateTime,
    hold: Duration,
    limit: i64,
) -> sqlx::Result<Vec<Order>> {
    let rows = sqlx::query_as!(
        Row,
        "UPDATE orders SET next_check_at = $2 WHERE id IN (
             SELECT id FROM orders
             WHERE (state = 'placed' OR (state = 'subscribed' AND confirmed_at IS NULL) OR provider_cancel_due) AND next_check_at <= $1
             ORDER BY next_check_at LIMIT $3 FOR UPDATE SKIP LOCKED)
         RETURNING id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial, state, confirmed_at, provider_cancel_due, created_at",
        now,
        now + hold,
        limit,
    )
    .fetch_all(db)
    .await?;
    readable("orders", rows)
}
