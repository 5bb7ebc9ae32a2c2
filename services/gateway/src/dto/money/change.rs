//! Changes of plans and cancellation.

use contracts::billing::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::invoice::Invoice;
use crate::dto::billing::{Plan, Subscription};
use crate::dto::scalars::{Cpu, Money, Size, Time, text, time};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePlan {
    #[schema(example = "standard-monthly")]
    pub target_plan_name: String,
    #[serde(default)]
    pub preview: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Resources {
    pub cpu_limit: Cpu,
    pub memory_limit: Size,
    #[schema(example = "20Gi")]
    pub storage_limit: Size,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct UpgradeAnswer {
    pub success: bool,
    pub current_plan: Option<Plan>,
    pub target_plan: Option<Plan>,
    pub amount_due: Option<Money>,
    pub credit: Option<Money>,
    pub effective_at: Option<Time>,
    pub invoice: Option<Invoice>,
    pub new_resources: Option<Resources>,
    /// The database goes to a server of another type; the instance is off meanwhile.
    pub moves_database: bool,
    /// preview, applied, awaiting_payment
    #[schema(example = "preview")]
    pub status: String,
}

impl From<pb::UpgradeSubscriptionResponse> for UpgradeAnswer {
    fn from(answer: pb::UpgradeSubscriptionResponse) -> Self {
        let limits = answer.target_plan.as_ref().and_then(|plan| plan.limits);
        Self {
            success: true,
            effective_at: time(answer.effective_at.as_ref()),
            current_plan: answer.current_plan.map(Plan::from),
            target_plan: answer.target_plan.map(Plan::from),
            amount_due: answer.amount_due.map(Money::from),
            credit: answer.credit.map(Money::from),
            invoice: answer.invoice.map(Invoice::from),
            new_resources: limits.map(|limits| Resources {
                cpu_limit: Cpu(limits.cpu_millis),
                memory_limit: Size(limits.memory_mib),
                storage_limit: Size(limits.storage_mib),
            }),
            moves_database: answer.moves_database,
            status: answer.status,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeAnswer {
    pub success: bool,
    pub effective_at: Option<Time>,
    pub subscription: Option<Subscription>,
}

impl From<pb::ChangeResponse> for ChangeAnswer {
    fn from(answer: pb::ChangeResponse) -> Self {
        Self {
            success: true,
            effective_at: time(answer.effective_at.as_ref()),
            subscription: answer.subscription.map(Subscription::from),
        }
    }
}

/// A downgrade that waits for the end of the period, or in a preview would.
#[derive(Debug, Serialize, ToSchema)]
pub struct DowngradeAnswer {
    pub success: bool,
    pub effective_at: Option<Time>,
    pub subscription: Option<Subscription>,
    pub target_plan: Option<Plan>,
    /// What the volume holds; none when the plan gives no less storage, or nobody can look.
    #[schema(example = 1_048_576)]
    pub storage_used_bytes: Option<u64>,
    /// A preview: why it would be refused, as a reason word.
    #[schema(example = "storage_exceeds_plan")]
    pub refusal: Option<String>,
    /// The database goes to a server of another type; the instance is off meanwhile.
    pub moves_database: bool,
    /// preview, waiting
    #[schema(example = "waiting")]
    pub status: &'static str,
}

impl DowngradeAnswer {
    pub fn of(answer: pb::ChangeResponse, preview: bool) -> Self {
        Self {
            success: true,
            effective_at: time(answer.effective_at.as_ref()),
            subscription: answer.subscription.map(Subscription::from),
            target_plan: answer.target_plan.map(Plan::from),
            storage_used_bytes: answer.storage_used_bytes,
            refusal: text(answer.refusal),
            moves_database: answer.moves_database,
            status: if preview { "preview" } else { "waiting" },
        }
    }
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cancel {
    #[schema(max_length = 500)]
    pub reason: String,
    pub immediate: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CancelAnswer {
    pub success: bool,
    pub plan_name: String,
    pub cancel_at: Option<Time>,
    pub instance_ends_at: Option<Time>,
}
