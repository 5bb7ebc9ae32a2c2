//! `PaymentService`: payments of the signed-in customer.

use contracts::billing::v1 as proto;
use contracts::billing::v1::payment_service_server::PaymentService;
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::customer::{user, whose};
use super::{Api, convert};
use crate::app::App;
use crate::app::payments::pay::{Wish, pay};
use crate::app::payments::read;
use crate::domain::payment::PaymentFilter;
use crate::domain::payment::{Method, PaymentState};
use crate::error::Error;

/// A page of payments.
pub(super) async fn page(
    app: &App,
    filter: &PaymentFilter,
    page: Page,
) -> Result<proto::ListPaymentsResponse, Error> {
    let (rows, total) = read::list(app, filter, page).await?;
    Ok(proto::ListPaymentsResponse {
        payments: rows.into_iter().map(convert::payment).collect(),
        total: u64::try_from(total).unwrap_or(0),
    })
}

#[tonic::async_trait]
impl PaymentService for Api {
    async fn initiate_payment(
        &self,
        request: Request<proto::InitiatePaymentRequest>,
    ) -> Result<Response<proto::InitiatePaymentResponse>, Status> {
        let customer_id = user(&request)?.id;
        let wanted = request.into_inner();
        let invoice_id = Uuid::parse_str(&wanted.invoice_id).map_err(|_| Error::NotFound("invoice"))?;
        let message = "must be ecocash, onemoney or card";
        let method: Method =
            wanted.method.parse().map_err(|_| Error::Field { field: "payment_method", message })?;
        let amount = wanted.amount.map(|amount| convert::amount(Some(amount))).transpose()?;
        let wish =
            Wish { customer_id, invoice_id, gateway: wanted.gateway, method, phone: wanted.phone, amount };
        let app = self.app.clone();
        // A caller that hangs up must not cut the payment from its answer.
        let paid = tokio::spawn(async move {
            let now = app.now().await;
            pay(&app, &wish, now).await
        });
        let payment = paid.await.map_err(|error| Error::Internal(error.into()))??;
        let (payment_type, message) = match (payment.state, payment.redirect_url.is_empty()) {
            (PaymentState::Pending, false) => ("redirect", "continue on the page of the payment provider"),
            (PaymentState::Pending, true) => ("mobile", "confirm the payment on your phone"),
            (PaymentState::Paid, _) => ("mobile", "the payment is complete"),
            _ => ("mobile", "the payment was not made"),
        };
        Ok(Response::new(proto::InitiatePaymentResponse {
            payment: Some(convert::payment(payment)),
            payment_type: payment_type.into(),
            message: message.into(),
        }))
    }

    async fn get_payment(
        &self,
        request: Request<proto::GetPaymentRequest>,
    ) -> Result<Response<proto::GetPaymentResponse>, Status> {
        let caller = user(&request)?;
        let id = Uuid::parse_str(&request.get_ref().payment_id).map_err(|_| Error::NotFound("payment"))?;
        let found = read::visible(&self.app, caller, id).await?;
        Ok(Response::new(proto::GetPaymentResponse { payment: Some(convert::payment(found)) }))
    }

    async fn get_payment_outcome(
        &self,
        request: Request<proto::GetPaymentRequest>,
    ) -> Result<Response<proto::GetPaymentOutcomeResponse>, Status> {
        let id = Uuid::parse_str(&request.get_ref().payment_id).map_err(|_| Error::NotFound("payment"))?;
        let state = read::find(&self.app, id).await?.state;
        Ok(Response::new(proto::GetPaymentOutcomeResponse { state: state.as_str().into() }))
    }

    async fn list_payments(
        &self,
        request: Request<proto::ListPaymentsRequest>,
    ) -> Result<Response<proto::ListPaymentsResponse>, Status> {
        let asked = request.get_ref();
        let customer = whose(user(&request)?, asked.customer_id.as_deref())?;
        let listed = Page::try_new(asked.page, asked.page_size)?;
        let filter = PaymentFilter { customer_id: Some(customer), ..PaymentFilter::default() };
        Ok(Response::new(page(&self.app, &filter, listed).await?))
    }
}
