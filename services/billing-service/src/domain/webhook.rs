//! Webhooks: hints of payment gateways and of the provider.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use uuid::Uuid;

use super::invoice::words;

words! {
    /// How far a hook came.
    WebhookState, UnknownWebhookState, {
        /// Waits to be looked at.
        New = "new",
        /// What it hints at was looked at.
        Done = "done",
        /// About nothing that we know.
        Ignored = "ignored",
        /// Given up.
        Failed = "failed",
    }
}

/// A hook as it stands.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Row.
    pub id: Uuid,
    /// Who sent it, or says so.
    pub provider: String,
    /// First receipt.
    pub received_at: OffsetDateTime,
    /// As it came.
    pub body: Vec<u8>,
    /// As it came.
    pub content_type: String,
    /// How often it came while it waited.
    pub deliveries: i32,
    /// How far it came.
    pub state: WebhookState,
    /// Looks so far.
    pub attempts: i32,
    /// When it was done.
    pub processed_at: Option<OffsetDateTime>,
    /// Whom it was about.
    pub customer_id: Option<Uuid>,
    /// A safe text.
    pub outcome: String,
}

/// What a list shows.
#[derive(Debug, Clone, Default)]
pub struct WebhookFilter {
    /// Only of this sender.
    pub provider: Option<String>,
    /// Only in this state.
    pub state: Option<String>,
}
