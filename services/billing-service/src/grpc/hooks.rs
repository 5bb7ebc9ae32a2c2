//! `WebhookService`: stores hooks.

use contracts::billing::v1 as proto;
use contracts::billing::v1::webhook_service_server::WebhookService;
use tonic::{Request, Response, Status};

use super::Api;

#[tonic::async_trait]
impl WebhookService for Api {
    async fn receive_webhook(
        &self,
        _: Request<proto::ReceiveWebhookRequest>,
    ) -> Result<Response<proto::ReceiveWebhookResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}
