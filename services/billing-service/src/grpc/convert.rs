//! Domain values → messages, and ids ← messages.

use contracts::billing::v1 as proto;
use contracts::scalars::timestamp;
use uuid::Uuid;

use crate::domain::plan::Plan;
use crate::error::Error;
use crate::store::subscriptions::Subscription;

pub(super) fn uuid(field: &'static str, text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::Field { field, message: "must be a UUID" })
}

pub(super) fn plan(plan: Plan) -> proto::Plan {
    proto::Plan {
        tier: plan.tier.as_str().into(),
        billing_period: plan.billing_period.as_str().into(),
        price: Some(proto::Money {
            amount_minor: plan.price.minor(),
            currency: plan.price.currency().to_string(),
        }),
        trial_days: plan.trial_days.into(),
        available: plan.active,
        limits: Some(proto::Limits {
            cpu_millis: plan.cpu_millis,
            memory_mib: plan.memory_mib,
            storage_mib: plan.storage_mib,
        }),
        db_type: plan.db_type.as_str().into(),
        db_tier: plan.db_tier,
        backup_schedule: plan.backup_schedule,
        backups_keep: plan.backups_keep,
        entitlement_version: plan.entitlement_version,
        name: plan.name,
        product: plan.product,
        description: plan.description,
    }
}

pub(super) fn subscription(subscription: Subscription) -> proto::Subscription {
    proto::Subscription {
        id: subscription.id.to_string(),
        customer_id: subscription.customer_id.to_string(),
        instance_id: subscription.instance_id.to_string(),
        plan_name: subscription.plan_name,
        billing_period: subscription.billing_period.as_str().into(),
        status: subscription.status.as_str().into(),
        trial_ends_at: subscription.trial_ends_at.map(timestamp),
        current_period_start: subscription.current_period_start.map(timestamp),
        current_period_end: subscription.current_period_end.map(timestamp),
        cancel_at: subscription.cancel_at.map(timestamp),
        provider: subscription.provider,
        provider_id: subscription.provider_id,
        created_at: Some(timestamp(subscription.created_at)),
    }
}
