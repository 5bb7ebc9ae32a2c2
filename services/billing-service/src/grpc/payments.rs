//! `PaymentService`: payments of the signed-in customer.

use contracts::billing::v1 as proto;
use contracts::billing::v1::payment_service_server::PaymentService;
use tonic::{Request, Response, Status};

use super::Api;

#[tonic::async_trait]
impl PaymentService for Api {
    async fn initiate_payment(
        &self,
        _: Request<proto::InitiatePaymentRequest>,
    ) -> Result<Response<proto::InitiatePaymentResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn get_payment(
        &self,
        _: Request<proto::GetPaymentRequest>,
    ) -> Result<Response<proto::GetPaymentResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn list_payments(
        &self,
        _: Request<proto::ListPaymentsRequest>,
    ) -> Result<Response<proto::ListPaymentsResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}
