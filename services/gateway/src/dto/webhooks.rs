//! Hooks.

use contracts::billing::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use super::scalars::{Time, text, time};

/// What the billing engine sends. It is kept as it comes; nothing of it is believed.
#[derive(Debug, Serialize, ToSchema)]
pub struct KillbillHook {
    #[serde(rename = "eventType")]
    #[schema(example = "INVOICE_CREATION")]
    pub event_type: String,
    #[serde(rename = "accountId")]
    #[schema(format = Uuid)]
    pub account_id: String,
}

/// The hook is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct Received {
    pub received: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Webhook {
    #[schema(format = Uuid)]
    pub id: String,
    /// killbill, paynow
    #[schema(example = "killbill")]
    pub provider: String,
    pub received_at: Option<Time>,
    /// new, done, ignored, failed
    #[schema(example = "done")]
    pub status: String,
    /// How often it came while it waited.
    pub deliveries: u32,
    /// How often it was looked at.
    pub attempts: u32,
    pub processed_at: Option<Time>,
    /// What came of it.
    #[schema(example = "pulled")]
    pub outcome: String,
    #[schema(format = Uuid)]
    pub customer_id: Option<String>,
    /// As it came; what is no text is left out.
    #[schema(example = "{}")]
    pub body: String,
}

impl From<pb::Webhook> for Webhook {
    fn from(hook: pb::Webhook) -> Self {
        Self {
            received_at: time(hook.received_at.as_ref()),
            processed_at: time(hook.processed_at.as_ref()),
            customer_id: text(hook.customer_id),
            id: hook.id,
            provider: hook.provider,
            status: hook.state,
            deliveries: hook.deliveries,
            attempts: hook.attempts,
            outcome: hook.outcome,
            body: hook.body,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    pub success: bool,
    pub webhooks: Vec<Webhook>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OneWebhook {
    pub success: bool,
    pub webhook: Webhook,
}
