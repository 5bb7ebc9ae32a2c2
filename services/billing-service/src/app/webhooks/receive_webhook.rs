//! Stores webhooks and lists them (BIL-30). What they are about is looked at later, and never believed.

use runtime::page::Page;
use uuid::Uuid;

use crate::app::App;
use crate::domain::webhook::{Webhook, WebhookFilter};
use crate::error::Error;
use crate::provider::Name;
use crate::store::webhooks;

/// A webhook as it arrives.
#[derive(Debug, Clone)]
pub struct Received {
    /// Who sent it, by the path that it came by.
    pub sender: String,
    /// The secret in that path.
    pub token: String,
    /// Its body.
    pub body: Vec<u8>,
    /// The type of the body.
    pub content_type: String,
}

/// Stores a webhook whose sender is proved: by the hash of a payment gateway, or by the provider's secret
/// path. Nothing of anybody else is kept, since they could fill the table, and they learn nothing.
pub async fn receive_webhook(app: &App, received: &Received) -> Result<Uuid, Error> {
    let Received { sender, token, body, content_type } = received;
    if let Some(gateway) = app.gateways.get(sender) {
        if gateway.webhook_reference(body).is_none() {
            app.metrics.gateway(gateway.name(), "bad_hash");
            tracing::warn!(provider = sender, size = body.len(), "a message with a wrong hash");
            return Err(Error::BadHash);
        }
    } else if sender != Name::Killbill.as_str() || !app.provider.is_hook_token(token) {
        return Err(Error::NotFound("hook"));
    }
    let id = webhooks::store(&app.pool, sender, body, content_type).await?;
    app.fail.at("hook.stored");
    app.wakeup.notify();
    Ok(id)
}

/// A page of webhooks, and how many there are.
pub async fn list(app: &App, filter: &WebhookFilter, page: Page) -> Result<(Vec<Webhook>, i64), Error> {
    Ok(webhooks::list(&app.pool, filter, page).await?)
}
