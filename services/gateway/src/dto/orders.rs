//! Orders of instances with their subscriptions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::billing::Subscription;
use super::money::Invoice;

/// A new instance and what was bought with it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ordered {
    pub success: bool,
    #[schema(format = Uuid)]
    pub subscription_id: String,
    pub subscription: Option<Subscription>,
    /// None in a trial.
    pub invoice: Option<Invoice>,
    #[schema(format = Uuid)]
    pub instance_id: String,
    #[schema(example = "ordered; it is being made")]
    pub message: &'static str,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reactivate {
    #[schema(example = "basic-monthly")]
    pub plan_name: String,
    /// Discount code.
    #[schema(min_length = 1, max_length = 50)]
    pub coupon: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReactivateNamed {
    pub instance_id: Uuid,
    #[schema(example = "basic-monthly")]
    pub plan_name: String,
    /// Discount code.
    #[schema(min_length = 1, max_length = 50)]
    pub coupon: Option<String>,
}

/// An instance on its way back.
#[derive(Debug, Serialize, ToSchema)]
pub struct Reactivated {
    pub success: bool,
    #[schema(format = Uuid)]
    pub subscription_id: String,
    pub invoice: Option<Invoice>,
    #[schema(format = Uuid)]
    pub instance_id: String,
    /// creating, or pending_payment while it waits for the invoice
    #[schema(example = "creating")]
    pub status: String,
    #[schema(format = Uuid)]
    pub operation_id: Option<String>,
}
