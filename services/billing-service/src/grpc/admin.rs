//! `BillingAdminService`: operators and admins.

use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_admin_service_server::BillingAdminService;
use contracts::scalars::{datetime, timestamp};
use runtime::identity;
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::convert::amount;
use super::customer::{invoices_of, shown, user, with_lines};
use super::{Api, convert};
use crate::app::advance::advance;
use crate::app::caller::Caller;
use crate::app::payments::{record_manual, refund};
use crate::app::provider::reconcile;
use crate::app::subscriptions::{self, change};
use crate::app::webhooks::{receive_webhook, webhook_inbox};
use crate::app::{App, repeat};
use crate::domain::invoice::{InvoiceFilter, InvoiceStatus};
use crate::domain::payment::PaymentFilter;
use crate::domain::subscription::SubscriptionFilter;
use crate::domain::webhook::WebhookFilter;
use crate::error::Error;

/// Longest jump of the test clock, in seconds.
const MOST: i64 = 10 * 366 * 86_400;

pub(super) fn optional(id: Option<&str>) -> Result<Option<Uuid>, Error> {
    id.filter(|id| !id.is_empty())
        .map(|id| {
            Uuid::parse_str(id).map_err(|_| Error::Field { field: "customer_id", message: "must be a UUID" })
        })
        .transpose()
}

/// Operators say why.
fn reason(text: &str) -> Result<&str, Error> {
    let text = text.trim();
    if (3..=500).contains(&text.chars().count()) {
        Ok(text)
    } else {
        Err(Error::Field { field: "reason", message: "must have 3 to 500 characters" })
    }
}

pub(super) fn by<T>(request: &Request<T>, why: &str) -> Result<Caller, Status> {
    let caller = identity::Caller::of(request)?;
    let user = caller.require_user()?;
    Ok(Caller {
        actor: user.id.to_string(),
        role: user.role.as_str(),
        reason: reason(why)?.to_owned(),
        request_id: caller.request_id.clone(),
    })
}

async fn close(
    app: &App,
    request: Request<proto::CloseInvoiceRequest>,
    status: InvoiceStatus,
) -> Result<proto::GetInvoiceResponse, Status> {
    let by = by(&request, &request.get_ref().reason)?;
    let id = Uuid::parse_str(&request.get_ref().invoice_id).map_err(|_| Error::NotFound("invoice"))?;
    let now = app.now().await;
    let closed = repeat(|| record_manual::close_invoice(app, &by, id, status, now)).await?;
    Ok(proto::GetInvoiceResponse { invoice: Some(with_lines(app, closed).await?) })
}

#[tonic::async_trait]
impl BillingAdminService for Api {
    async fn admin_list_subscriptions(
        &self,
        request: Request<proto::AdminListSubscriptionsRequest>,
    ) -> Result<Response<proto::ListSubscriptionsResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let filter = SubscriptionFilter {
            customer_id: optional(asked.customer_id.as_deref())?,
            status: asked.status,
            dunning: asked.ladder_state,
        };
        let (views, total) = subscriptions::read::list(&self.app, &filter, page).await?;
        Ok(Response::new(proto::ListSubscriptionsResponse {
            subscriptions: views.into_iter().map(convert::subscription).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn admin_list_invoices(
        &self,
        request: Request<proto::AdminListInvoicesRequest>,
    ) -> Result<Response<proto::ListInvoicesResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let filter = InvoiceFilter {
            customer_id: optional(asked.customer_id.as_deref())?,
            subscription_id: None,
            status: asked.status,
            overdue_at: if asked.overdue { Some(self.app.now().await) } else { None },
        };
        Ok(Response::new(invoices_of(&self.app, &filter, page).await?))
    }

    async fn admin_list_payments(
        &self,
        request: Request<proto::AdminListPaymentsRequest>,
    ) -> Result<Response<proto::ListPaymentsResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let filter = PaymentFilter {
            customer_id: optional(asked.customer_id.as_deref())?,
            state: asked.state,
            gateway: asked.gateway,
        };
        Ok(Response::new(super::payments::page(&self.app, &filter, page).await?))
    }

    async fn record_payment(
        &self,
        request: Request<proto::RecordPaymentRequest>,
    ) -> Result<Response<proto::GetPaymentResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wanted = request.into_inner();
        let invoice = Uuid::parse_str(&wanted.invoice_id).map_err(|_| Error::NotFound("invoice"))?;
        let reference = wanted.reference.trim();
        let now = self.app.now().await;
        let received = match wanted.received_at.as_ref() {
            None => now,
            Some(at) => {
                let message = "must be a date and time";
                datetime(at).ok_or(Error::Field { field: "received_at", message })?
            }
        };
        let amount = amount(wanted.amount)?;
        let record =
            || record_manual::record_payment(&self.app, &by, invoice, amount, reference, received, now);
        let payment = repeat(record).await?;
        Ok(Response::new(proto::GetPaymentResponse { payment: Some(convert::payment(payment)) }))
    }

    async fn refund_payment(
        &self,
        request: Request<proto::RefundPaymentRequest>,
    ) -> Result<Response<proto::RefundPaymentResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wanted = request.into_inner();
        let id = Uuid::parse_str(&wanted.payment_id).map_err(|_| Error::NotFound("payment"))?;
        let amount = amount(wanted.amount)?;
        // Without a key each call is a wish of its own.
        let key = match wanted.idempotency_key.as_str() {
            "" => Uuid::now_v7().to_string(),
            key => key.to_owned(),
        };
        let now = self.app.now().await;
        let refunded = repeat(|| refund::refund(&self.app, &by, id, amount, &key, now)).await?;
        Ok(Response::new(proto::RefundPaymentResponse {
            payment: Some(convert::payment(refunded.payment)),
            refund_id: refunded.id.to_string(),
            state: if refunded.done { "done" } else { "waiting" }.into(),
        }))
    }

    async fn give_credit(
        &self,
        request: Request<proto::GiveCreditRequest>,
    ) -> Result<Response<proto::GiveCreditResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wanted = request.into_inner();
        let customer = Uuid::parse_str(&wanted.customer_id).map_err(|_| Error::NotFound("customer"))?;
        let amount = amount(wanted.amount)?;
        let key = wanted.idempotency_key.as_str();
        let now = self.app.now().await;
        let given = repeat(|| record_manual::give_credit(&self.app, &by, customer, amount, key, now)).await?;
        let left = record_manual::credit_left(&self.app, customer, amount.currency()).await?;
        Ok(Response::new(proto::GiveCreditResponse {
            credit_id: given.to_string(),
            credit: Some(convert::money(left)),
        }))
    }

    async fn void_invoice(
        &self,
        request: Request<proto::CloseInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoiceResponse>, Status> {
        Ok(Response::new(close(&self.app, request, InvoiceStatus::Void).await?))
    }

    async fn write_off_invoice(
        &self,
        request: Request<proto::CloseInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoiceResponse>, Status> {
        Ok(Response::new(close(&self.app, request, InvoiceStatus::WrittenOff).await?))
    }

    async fn extend_trial(
        &self,
        request: Request<proto::ExtendTrialRequest>,
    ) -> Result<Response<proto::GetSubscriptionResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let wanted = request.into_inner();
        let id = Uuid::parse_str(&wanted.subscription_id).map_err(|_| Error::NotFound("subscription"))?;
        let now = self.app.now().await;
        let row = change::extend_trial(&self.app, &by, id, wanted.days, now).await?;
        let subscription = Some(shown(&self.app, row).await?);
        Ok(Response::new(proto::GetSubscriptionResponse { subscription }))
    }

    async fn list_webhooks(
        &self,
        request: Request<proto::ListWebhooksRequest>,
    ) -> Result<Response<proto::ListWebhooksResponse>, Status> {
        let asked = request.into_inner();
        let page = Page::try_new(asked.page, asked.page_size)?;
        let filter = WebhookFilter { provider: asked.provider, state: asked.state };
        let (rows, total) = receive_webhook::list(&self.app, &filter, page).await?;
        Ok(Response::new(proto::ListWebhooksResponse {
            webhooks: rows.into_iter().map(convert::webhook).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn replay_webhook(
        &self,
        request: Request<proto::ReplayWebhookRequest>,
    ) -> Result<Response<proto::ReplayWebhookResponse>, Status> {
        let by = by(&request, &request.get_ref().reason)?;
        let id = Uuid::parse_str(&request.get_ref().webhook_id).map_err(|_| Error::NotFound("webhook"))?;
        let hook = webhook_inbox::replay(&self.app, &by, id, self.app.real_now().await).await?;
        let hook = hook.ok_or(Error::NotFound("webhook"))?;
        Ok(Response::new(proto::ReplayWebhookResponse { webhook: Some(convert::webhook(hook)) }))
    }

    async fn reconcile(
        &self,
        request: Request<proto::ReconcileRequest>,
    ) -> Result<Response<proto::ReconcileResponse>, Status> {
        let actor = user(&request)?.id.to_string();
        let customer = optional(request.get_ref().customer_id.as_deref())?;
        let id = reconcile::order(&self.app, &actor, customer).await?;
        Ok(Response::new(proto::ReconcileResponse { task_id: id.to_string() }))
    }

    async fn advance_clock(
        &self,
        request: Request<proto::AdvanceClockRequest>,
    ) -> Result<Response<proto::AdvanceClockResponse>, Status> {
        if !self.app.settings.test_clock {
            return Err(Error::NotFound("clock").into());
        }
        let by = i64::try_from(request.get_ref().seconds)
            .ok()
            .filter(|seconds| (1..=MOST).contains(seconds))
            .ok_or(Error::Field { field: "advance", message: "must be from a second to ten years" })?;
        let (now, steps) = advance(&self.app, time::Duration::seconds(by)).await?;
        tracing::info!(seconds = by, steps, "the billing clock was moved");
        Ok(Response::new(proto::AdvanceClockResponse { now: Some(timestamp(now)) }))
    }
}
