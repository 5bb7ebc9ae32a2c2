//! Plans, trial, subscriptions.

use contracts::billing::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use super::scalars::{Cpu, Money, Size, Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct Backups {
    #[schema(example = "daily")]
    pub schedule: String,
    #[schema(example = 7)]
    pub keep: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Plan {
    #[schema(example = "basic-monthly")]
    pub name: String,
    #[schema(example = "basic")]
    pub product: String,
    /// basic, standard, premium, enterprise
    #[schema(example = "basic")]
    pub tier: String,
    /// trial when it begins with trial days, else paid
    #[serde(rename = "type")]
    #[schema(example = "trial")]
    pub kind: &'static str,
    pub description: String,
    /// monthly, quarterly, biannual, annual
    #[schema(example = "monthly")]
    pub billing_period: String,
    #[schema(example = 14)]
    pub trial_length: u32,
    #[schema(example = "days")]
    pub trial_time_unit: &'static str,
    pub price: Option<Money>,
    #[schema(example = "USD")]
    pub currency: Option<String>,
    pub available: bool,
    pub cpu_limit: Option<Cpu>,
    pub memory_limit: Option<Size>,
    #[schema(example = "10Gi")]
    pub storage_limit: Option<Size>,
    /// shared, dedicated
    #[schema(example = "shared")]
    pub db_type: String,
    pub backups: Backups,
}

impl From<pb::Plan> for Plan {
    fn from(plan: pb::Plan) -> Self {
        Self {
            kind: if plan.trial_days > 0 { "trial" } else { "paid" },
            currency: plan.price.as_ref().map(|price| price.currency.clone()),
            price: plan.price.map(Money::from),
            cpu_limit: plan.limits.map(|limits| Cpu(limits.cpu_millis)),
            memory_limit: plan.limits.map(|limits| Size(limits.memory_mib)),
            storage_limit: plan.limits.map(|limits| Size(limits.storage_mib)),
            name: plan.name,
            product: plan.product,
            tier: plan.tier,
            description: plan.description,
            billing_period: plan.billing_period,
            trial_length: plan.trial_days,
            trial_time_unit: "days",
            available: plan.available,
            db_type: plan.db_type,
            backups: Backups { schedule: plan.backup_schedule, keep: plan.backups_keep },
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PlanList {
    pub success: bool,
    pub plans: Vec<Plan>,
    pub total: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OnePlan {
    pub success: bool,
    pub plan: Plan,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TrialEligibility {
    pub eligible: bool,
    pub can_show_trial_info: bool,
    #[schema(example = 14)]
    pub trial_days: u32,
    pub has_active_subscriptions: bool,
    pub subscription_count: u32,
    /// eligible, already_used, has_paid_subscription, unavailable
    #[schema(example = "eligible")]
    pub reason: String,
}

impl From<pb::GetTrialEligibilityResponse> for TrialEligibility {
    fn from(answer: pb::GetTrialEligibilityResponse) -> Self {
        Self {
            eligible: answer.eligible,
            can_show_trial_info: answer.can_show_trial_info,
            trial_days: answer.trial_days,
            has_active_subscriptions: answer.has_active_subscriptions,
            subscription_count: answer.subscription_count,
            reason: answer.reason,
        }
    }
}

/// What is done about overdue invoices.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ladder {
    /// none, warning, suspended, terminated
    #[schema(example = "none")]
    pub state: String,
    pub since: Option<Time>,
    pub next_step_at: Option<Time>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PendingChange {
    #[schema(example = "standard-monthly")]
    pub plan_name: String,
    pub effective_at: Option<Time>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Subscription {
    #[schema(format = Uuid)]
    pub subscription_id: String,
    #[schema(format = Uuid)]
    pub customer_id: String,
    #[schema(format = Uuid)]
    pub instance_id: Option<String>,
    #[schema(example = "basic-monthly")]
    pub plan_name: String,
    #[schema(example = "monthly")]
    pub billing_period: String,
    /// pending, trialing, active, past_due, suspended, cancelling, ended
    #[schema(example = "trialing")]
    pub status: String,
    pub trial_ends_at: Option<Time>,
    pub current_period_start: Option<Time>,
    pub current_period_end: Option<Time>,
    pub cancel_at: Option<Time>,
    pub ladder: Ladder,
    pub pending_change: Option<PendingChange>,
    /// ledger, killbill
    #[schema(example = "ledger")]
    pub provider: String,
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    pub provider_id: Option<String>,
    pub created_at: Option<Time>,
}

impl From<pb::Subscription> for Subscription {
    fn from(subscription: pb::Subscription) -> Self {
        Self {
            trial_ends_at: time(subscription.trial_ends_at.as_ref()),
            current_period_start: time(subscription.current_period_start.as_ref()),
            current_period_end: time(subscription.current_period_end.as_ref()),
            cancel_at: time(subscription.cancel_at.as_ref()),
            created_at: time(subscription.created_at.as_ref()),
            subscription_id: subscription.id,
            customer_id: subscription.customer_id,
            instance_id: text(subscription.instance_id),
            plan_name: subscription.plan_name,
            billing_period: subscription.billing_period,
            status: subscription.status,
            ladder: Ladder {
                since: time(subscription.ladder.as_ref().and_then(|ladder| ladder.since.as_ref())),
                next_step_at: time(
                    subscription.ladder.as_ref().and_then(|ladder| ladder.next_step_at.as_ref()),
                ),
                state: subscription.ladder.map_or_else(|| "none".to_owned(), |ladder| ladder.state),
            },
            pending_change: subscription.pending_change.map(|pending| PendingChange {
                effective_at: time(pending.effective_at.as_ref()),
                plan_name: pending.plan_name,
            }),
            provider: subscription.provider,
            provider_id: text(subscription.provider_id),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubscriptionList {
    pub success: bool,
    pub subscriptions: Vec<Subscription>,
    pub subscription_count: u64,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OneSubscription {
    pub success: bool,
    pub subscription: Subscription,
}
