//! Webhooks of payment gateways and of the provider: hints, stored and looked at later.

pub mod handle_webhook;
pub mod receive_webhook;
pub mod webhook_inbox;
