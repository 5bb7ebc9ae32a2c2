//! `WebhookService`: stores hooks and answers (BIL-30). What they are about is looked at later, and never believed.

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
        if hook.provider != Name::Killbill.as_str() {
            return Err(Status::unimplemented("not yet"));
        }
        if !self.desk.provider.is_hook_token(&hook.token) {
            return Err(Error::NotFound("hook").into());
        }
        let id = webhooks::store(&self.desk.pool, &hook.provider, &hook.body, &hook.content_type).await;
        let id = id.map_err(Error::from)?;
        Ok(Response::new(proto::ReceiveWebhookResponse { webhook_id: id.to_string() }))
    }
}
