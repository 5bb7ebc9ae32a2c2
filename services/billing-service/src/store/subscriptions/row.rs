//! The row of a subscription.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::money::Money;
use crate::domain::subscription::{PendingChange, Subscription};
use crate::store::{corrupt, number};

/// As SQL gives it.
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) order_id: Uuid,
    pub(super) customer_id: Uuid,
    pub(super) instance_id: Uuid,
    pub(super) plan_name: String,
    pub(super) entitlement_version: i64,
    pub(super) billing_period: String,
    pub(super) price_minor: i64,
    pub(super) currency: String,
    pub(super) status: String,
    pub(super) trial_ends_at: Option<OffsetDateTime>,
    pub(super) current_period_start: Option<OffsetDateTime>,
    pub(super) current_period_end: Option<OffsetDateTime>,
    pub(super) cancel_at: Option<OffsetDateTime>,
    pub(super) ended_at: Option<OffsetDateTime>,
    pub(super) end_reason: Option<String>,
    pub(super) provider: String,
    pub(super) provider_id: String,
    pub(super) created_at: OffsetDateTime,
    pub(super) anchor_day: i16,
    pub(super) ladder_state: String,
    pub(super) ladder_since: Option<OffsetDateTime>,
    pub(super) pending_plan_name: Option<String>,
    pub(super) pending_entitlement_version: Option<i64>,
    pub(super) pending_effective_at: Option<OffsetDateTime>,
    pub(super) pending_invoice_id: Option<Uuid>,
    pub(super) cancel_reason: Option<String>,
    pub(super) coupon: Option<String>,
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
