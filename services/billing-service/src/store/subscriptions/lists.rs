//! Lists of subscriptions: for pages, for the overview, for the audit.

use runtime::page::Page;
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use super::row::Row;
use crate::domain::catalogue::Tier;
use crate::domain::subscription::{Status, Subscription, SubscriptionFilter};
use crate::store::read_or_none;
use crate::store::{corrupt, readable};

/// Of one customer, newest first, and the number of all.
pub async fn of_customer(
    pool: &PgPool,
    customer: Uuid,
    page: Page,
) -> sqlx::Result<(Vec<Subscription>, i64)> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor::bigint AS "price_minor!",
                  currency AS "currency!", status, trial_ends_at, current_period_start, current_period_end, cancel_at, ended_at, end_reason, provider,
                  provider_id, created_at, anchor_day, ladder_state, ladder_since, pending_plan_name, pending_entitlement_version, pending_effective_at,
                  pending_invoice_id, cancel_reason, coupon
           FROM subscriptions WHERE customer_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3"#,
        customer,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM subscriptions WHERE customer_id = $1"#,
        customer
    )
    .fetch_one(pool)
    .await?;
    Ok((readable("subscriptions", rows)?, total))
}

/// Those that there are of many ids. A row that cannot be read says so for itself alone.
pub async fn of_ids(
    db: impl PgExecutor<'_>,
    ids: &[Uuid],
) -> sqlx::Result<Vec<(Uuid, sqlx::Result<Subscription>)>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period,
                  price_minor::bigint AS "price_minor!", currency AS "currency!", status, trial_ends_at,
                  current_period_start, current_period_end, cancel_at, ended_at, end_reason, provider,
                  provider_id, created_at, anchor_day, ladder_state, ladder_since, pending_plan_name,
                  pending_entitlement_version, pending_effective_at, pending_invoice_id, cancel_reason, coupon
           FROM subscriptions WHERE id = ANY($1)"#,
        ids,
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, Subscription::try_from(row))).collect())
}

/// State, tier and plan of each live subscription of a customer.
pub async fn live_of_customer(
    db: impl PgExecutor<'_>,
    customer: Uuid,
) -> sqlx::Result<Vec<(Status, Tier, String)>> {
    let rows = sqlx::query!(
        "SELECT s.status, p.tier, p.name FROM subscriptions s JOIN plans p ON p.name = s.plan_name
         WHERE s.customer_id = $1 AND s.status <> 'ended' ORDER BY s.created_at",
        customer,
    )
    .fetch_all(db)
    .await?;
    rows.into_iter()
        .filter_map(|row| {
            let read =
                || Ok((row.status.parse().map_err(corrupt)?, row.tier.parse().map_err(corrupt)?, row.name));
            read_or_none("subscriptions", read()).transpose()
        })
        .collect()
}

/// Live ones of a customer.
pub async fn live(db: impl PgExecutor<'_>, customer: Uuid) -> sqlx::Result<Vec<Subscription>> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor::bigint AS "price_minor!",
                  currency AS "currency!", status, trial_ends_at, current_period_start, current_period_end, cancel_at, ended_at, end_reason, provider,
                  provider_id, created_at, anchor_day, ladder_state, ladder_since, pending_plan_name, pending_entitlement_version, pending_effective_at,
                  pending_invoice_id, cancel_reason, coupon
           FROM subscriptions WHERE customer_id = $1 AND status <> 'ended' ORDER BY created_at DESC LIMIT 200"#,
        customer,
    )
    .fetch_all(db)
    .await?;
    readable("subscriptions", rows)
}

/// Live ones whose instance must exist, of one customer or of all: id after `after`, for the audit.
pub async fn live_ids(
    db: impl PgExecutor<'_>,
    customer: Option<Uuid>,
    after: Uuid,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT s.id FROM subscriptions s JOIN orders o ON o.id = s.order_id
         WHERE s.status NOT IN ('ended', 'pending') AND o.confirmed_at IS NOT NULL AND s.id > $1 AND ($3::uuid IS NULL OR s.customer_id = $3)
         ORDER BY s.id LIMIT $2",
        after,
        limit,
        customer,
    )
    .fetch_all(db)
    .await
}

/// Newest first, and the number of all.
pub async fn list(
    pool: &PgPool,
    filter: &SubscriptionFilter,
    page: Page,
) -> sqlx::Result<(Vec<Subscription>, i64)> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor::bigint AS "price_minor!",
                  currency AS "currency!", status, trial_ends_at, current_period_start, current_period_end, cancel_at, ended_at, end_reason, provider,
                  provider_id, created_at, anchor_day, ladder_state, ladder_since, pending_plan_name, pending_entitlement_version, pending_effective_at,
                  pending_invoice_id, cancel_reason, coupon
           FROM subscriptions
           WHERE ($1::uuid IS NULL OR customer_id = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR ladder_state = $3)
           ORDER BY created_at DESC, id DESC LIMIT $4 OFFSET $5"#,
        filter.customer_id,
        filter.status,
        filter.dunning,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM subscriptions
           WHERE ($1::uuid IS NULL OR customer_id = $1) AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR ladder_state = $3)"#,
        filter.customer_id,
        filter.status,
        filter.dunning,
    )
    .fetch_one(pool)
    .await?;
    Ok((readable("subscriptions", rows)?, total))
}
