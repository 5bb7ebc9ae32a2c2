//! `BillingAdminService`: operators and admins.

use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_admin_service_server::BillingAdminService;
use tonic::{Request, Response, Status};

use super::Api;

#[tonic::async_trait]
impl BillingAdminService for Api {
    async fn admin_list_subscriptions(
        &self,
        _: Request<proto::AdminListSubscriptionsRequest>,
    ) -> Result<Response<proto::ListSubscriptionsResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn admin_list_invoices(
        &self,
        _: Request<proto::AdminListInvoicesRequest>,
    ) -> Result<Response<proto::ListInvoicesResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn admin_list_payments(
        &self,
        _: Request<proto::AdminListPaymentsRequest>,
    ) -> Result<Response<proto::ListPaymentsResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn record_payment(
        &self,
        _: Request<proto::RecordPaymentRequest>,
    ) -> Result<Response<proto::GetPaymentResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn refund_payment(
        &self,
        _: Request<proto::RefundPaymentRequest>,
    ) -> Result<Response<proto::RefundPaymentResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn give_credit(
        &self,
        _: Request<proto::GiveCreditRequest>,
    ) -> Result<Response<proto::GiveCreditResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn void_invoice(
        &self,
        _: Request<proto::CloseInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoiceResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn write_off_invoice(
        &self,
        _: Request<proto::CloseInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoiceResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn extend_trial(
        &self,
        _: Request<proto::ExtendTrialRequest>,
    ) -> Result<Response<proto::GetSubscriptionResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn list_webhooks(
        &self,
        _: Request<proto::ListWebhooksRequest>,
    ) -> Result<Response<proto::ListWebhooksResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn replay_webhook(
        &self,
        _: Request<proto::ReplayWebhookRequest>,
    ) -> Result<Response<proto::ReplayWebhookResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn reconcile(
        &self,
        _: Request<proto::ReconcileRequest>,
    ) -> Result<Response<proto::ReconcileResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn advance_clock(
        &self,
        _: Request<proto::AdvanceClockRequest>,
    ) -> Result<Response<proto::AdvanceClockResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}
