//! `WebhookService`: stores hooks and answers (BIL-30). What they are about is looked at later, and never
//! believed.

use contracts::billing::v1 as proto;
use contracts::billing::v1::webhook_service_server::WebhookService;
use tonic::{Request, Response, Status};

use super::Api;
use crate::error::Error;
use crate::provider::Name;
use crate::store::webhooks;

#[tonic::async_trait]
impl WebhookService for Api {
    async fn receive_webhook(
        &self,
        request: Request<proto::ReceiveWebhookRequest>,
    ) -> Result<Response<proto::ReceiveWebhookResponse>, Status> {
        let hook = request.into_inner();
        // Whoever cannot show that he is the sender learns nothing, and nothing of him is kept.
        if let Some(gateway) = self.app.gateways.get(&hook.provider) {
            // What its sender did not sign is not kept: anybody could fill the table.
            if gateway.webhook_reference(&hook.body).is_none() {
                self.app.metrics.gateway(gateway.name(), "bad_hash");
                tracing::warn!(
                    provider = hook.provider,
                    size = hook.body.len(),
                    "a message with a wrong hash"
                );
                return Err(Error::BadHash.into());
            }
        } else if hook.provider != Name::Killbill.as_str() || !self.app.provider.is_hook_token(&hook.token) {
            return Err(Error::NotFound("hook").into());
        }
        let id = webhooks::store(&self.app.pool, &hook.provider, &hook.body, &hook.content_type).await;
        let id = id.map_err(Error::from)?;
        self.app.fail.at("hook.stored");
        self.app.wakeup.notify();
        Ok(Response::new(proto::ReceiveWebhookResponse { webhook_id: id.to_string() }))
    }
}
