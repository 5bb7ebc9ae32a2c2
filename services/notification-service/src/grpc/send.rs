//! `NotificationService`: mails that other services order.

use contracts::notification::v1::notification_service_server::NotificationService;
use contracts::notification::v1::{SendTemplateRequest, SendTemplateResponse};
use serde_json::Value;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Api;
use crate::app::{Error, Order};

#[tonic::async_trait]
impl NotificationService for Api {
    async fn send_template(
        &self,
        request: Request<SendTemplateRequest>,
    ) -> Result<Response<SendTemplateResponse>, Status> {
        let order = order(request.into_inner())?;
        let mut tx = self.pool.begin().await.map_err(Error::from)?;
        let id = self.queue.order(&mut tx, order).await?.ok_or(Error::NotFound)?;
        tx.commit().await.map_err(Error::from)?;
        Ok(Response::new(SendTemplateResponse { email_id: id.to_string() }))
    }
}

fn order(request: SendTemplateRequest) -> Result<Order, Error> {
    if request.dedupe_key.is_empty() || request.dedupe_key.chars().count() > 200 {
        return Err(Error::Field { field: "dedupe_key", message: "must have 1 to 200 characters" });
    }
    let customer_id = Uuid::parse_str(&request.customer_id)
        .map_err(|_| Error::Field { field: "customer_id", message: "must be a UUID" })?;
    Ok(Order {
        dedupe_key: request.dedupe_key,
        customer_id,
        template_name: request.template_name,
        variables: object(&request.variables_json)?,
        unless: None,
        test: false,
    })
}

/// A JSON object; empty text is an empty object.
pub(super) fn object(text: &str) -> Result<Value, Error> {
    if text.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(Error::Field { field: "variables", message: "must be a JSON object" }),
    }
}
