//! The row of a subscription.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::money::Money;
use crate::domain::subscription::{PendingChange, Subscription};
use crate::store::{corrupt, number};

/// As SQL gives it.
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) order_id: Uuid,
    pub(crate) customer_id: Uuid,
    pub(crate) instance_id: Uuid,
    pub(crate) plan_name: String,
    pub(crate) entitlement_version: i64,
    pub(crate) billing_period: String,
    pub(crate) price_minor: i64,
    pub(crate) currency: String,
    pub(crate) status: String,
    pub(crate) trial_ends_at: Option<OffsetDateTime>,
    pub(crate) current_period_start: Option<OffsetDateTime>,
    pub(crate) current_period_end: Option<OffsetDateTime>,
    pub(crate) cancel_at: Option<OffsetDateTime>,
    pub(crate) ended_at: Option<OffsetDateTime>,
    pub(crate) end_reason: Option<String>,
    pub(crate) provider: String,
    pub(crate) provider_id: String,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) anchor_day: i16,
    pub(crate) ladder_state: String,
    pub(crate) ladder_since: Option<OffsetDateTime>,
    pub(crate) pending_plan_name: Option<String>,
    pub(crate) pending_entitlement_version: Option<i64>,
    pub(crate) pending_effective_at: Option<OffsetDateTime>,
    pub(crate) pending_invoice_id: Option<Uuid>,
    pub(crate) cancel_reason: Option<String>,
    pub(crate) coupon: Option<String>,
}

impl TryFrom<Row> for Subscription {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            billing_period: row.billing_period.parse().map_err(corrupt)?,
            price: Money::new(row.price_minor, row.currency.parse().map_err(corrupt)?),
            status: row.status.parse().map_err(corrupt)?,
            id: row.id,
            order_id: row.order_id,
            customer_id: row.customer_id,
            instance_id: row.instance_id,
            plan_name: row.plan_name,
            entitlement_version: row.entitlement_version,
            trial_ends_at: row.trial_ends_at,
            current_period_start: row.current_period_start,
            current_period_end: row.current_period_end,
            cancel_at: row.cancel_at,
            ended_at: row.ended_at,
            end_reason: row.end_reason,
            provider: row.provider,
            provider_id: row.provider_id,
            created_at: row.created_at,
            anchor_day: number(row.anchor_day)?,
            dunning: row.ladder_state.parse().map_err(corrupt)?,
            dunning_since: row.ladder_since,
            pending: row.pending_plan_name.zip(row.pending_entitlement_version).map(
                |(plan_name, entitlement_version)| PendingChange {
                    plan_name,
                    entitlement_version,
                    effective_at: row.pending_effective_at,
                    invoice_id: row.pending_invoice_id,
                },
            ),
            cancel_reason: row.cancel_reason,
            coupon: row.coupon,
        })
    }
}
