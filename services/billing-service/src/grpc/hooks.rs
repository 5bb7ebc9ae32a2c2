//! `WebhookService`: webhooks that the gateway passes on.

use contracts::billing::v1 as proto;
use contracts::billing::v1::webhook_service_server::WebhookService;
use tonic::{Request, Response, Status};

use super::Api;
use crate::app::webhooks::receive_webhook::{Received, receive_webhook};

#[tonic::async_trait]
impl WebhookService for Api {
    async fn receive_webhook(
        &self,
        request: Request<proto::ReceiveWebhookRequest>,
    ) -> Result<Response<proto::ReceiveWebhookResponse>, Status> {
        let hook = request.into_inner();
        let received = Received {
            sender: hook.provider,
            token: hook.token,
            body: hook.body,
            content_type: hook.content_type,
        };
        let id = receive_webhook(&self.app, &received).await?;
        Ok(Response::new(proto::ReceiveWebhookResponse { webhook_id: id.to_string() }))
    }
}
