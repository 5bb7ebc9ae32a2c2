//! `BillingService`: reads of the signed-in customer; operators may name another one. `BillingDirectoryService`: look-ups of user-service.

use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_directory_service_server::BillingDirectoryService;
use contracts::billing::v1::billing_service_server::BillingService;
use runtime::identity::{Caller, Role, User};
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, convert};
use crate::app::{self, Desk};
use crate::domain::invoice::InvoiceStatus;
use crate::domain::trial::Eligibility;
use crate::error::Error;
use crate::store::invoices::{self, Filter, Invoice};
use crate::store::subscriptions;

#[tonic::async_trait]
impl BillingService for Api {
    async fn get_trial_eligibility(
        &self,
        request: Request<proto::GetTrialEligibilityRequest>,
    ) -> Result<Response<proto::GetTrialEligibilityResponse>, Status> {
        let customer = whose(user(&request)?, request.get_ref().customer_id.as_deref())?;
        let answer = app::trial_eligibility(&self.desk, customer).await?;
        let eligible = answer.eligibility == Eligibility::Eligible;
        Ok(Response::new(proto::GetTrialEligibilityResponse {
            eligible,
            can_show_trial_info: eligible,
            trial_days: u32::from(self.desk.trial_days),
            has_active_subscriptions: answer.live > 0,
            subscription_count: u32::try_from(answer.live).unwrap_or(u32::MAX),
            reason: answer.eligibility.as_str().into(),
        }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<proto::ListSubscriptionsRequest>,
    ) -> Result<Response<proto::ListSubscriptionsResponse>, Status> {
        let asked = request.get_ref();
        let customer = whose(user(&request)?, asked.customer_id.as_deref())?;
        let page = Page::try_new(asked.page, asked.page_size)?;
        let (rows, total) =
            subscriptions::of_customer(&self.desk.pool, customer, page).await.map_err(Error::from)?;
        Ok(Response::new(proto::ListSubscriptionsResponse {
            subscriptions: rows.into_iter().map(convert::subscription).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn get_subscription(
        &self,
        request: Request<proto::GetSubscriptionRequest>,
    ) -> Result<Response<proto::GetSubscriptionResponse>, Status> {
        let user = user(&request)?;
        // An id that is none and an id of another customer look the same.
        let id = Uuid::parse_str(&request.get_ref().subscription_id)
            .map_err(|_| Error::NotFound("subscription"))?;
        let found = subscriptions::find(&self.desk.pool, id)
            .await
            .map_err(Error::from)?
            .filter(|found| found.customer_id == user.id || user.role >= Role::Operator)
            .ok_or(Error::NotFound("subscription"))?;
        let subscription = Some(convert::subscription(found));
        Ok(Response::new(proto::GetSubscriptionResponse { subscription }))
    }

    async fn get_provider_health(
        &self,
        _: Request<proto::GetProviderHealthRequest>,
    ) -> Result<Response<proto::GetProviderHealthResponse>, Status> {
        let health = self.desk.provider.health().await;
        if let Err(error) = &health {
            tracing::warn!(error = format!("{error:#}"), "the billing provider does not work");
        }
        Ok(Response::new(proto::GetProviderHealthResponse {
            provider: self.desk.provider.name().as_str().into(),
            healthy: health.is_ok(),
            // The cause stays in the log: this page is public.
            detail: if health.is_ok() { "ok" } else { "the provider does not answer" }.into(),
        }))
    }

    async fn get_overview(
        &self,
        _: Request<proto::GetOverviewRequest>,
    ) -> Result<Response<proto::GetOverviewResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn get_account(
        &self,
        _: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn update_account(
        &self,
        _: Request<proto::UpdateAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn list_invoices(
        &self,
        request: Request<proto::ListInvoicesRequest>,
    ) -> Result<Response<proto::ListInvoicesResponse>, Status> {
        let asked = request.get_ref();
        let customer = whose(user(&request)?, asked.customer_id.as_deref())?;
        let page = Page::try_new(asked.page, asked.page_size)?;
        let subscription = match asked.subscription_id.as_deref() {
            None => None,
            Some(id) => Some(Uuid::parse_str(id).map_err(|_| Error::NotFound("subscription"))?),
        };
        let filter = Filter {
            customer_id: Some(customer),
            subscription_id: subscription,
            status: asked.status.clone(),
            overdue_at: None,
        };
        Ok(Response::new(invoices_of(&self.desk, &filter, page).await?))
    }

    async fn get_invoice(
        &self,
        request: Request<proto::GetInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoiceResponse>, Status> {
        let found = own_invoice(&self.desk, user(&request)?, &request.get_ref().invoice_id).await?;
        let invoice = with_lines(&self.desk, found).await?;
        Ok(Response::new(proto::GetInvoiceResponse { invoice: Some(invoice) }))
    }

    async fn get_invoice_pdf(
        &self,
        _: Request<proto::GetInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoicePdfResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn upgrade_subscription(
        &self,
        _: Request<proto::UpgradeSubscriptionRequest>,
    ) -> Result<Response<proto::UpgradeSubscriptionResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn downgrade_subscription(
        &self,
        _: Request<proto::DowngradeSubscriptionRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn undo_downgrade(
        &self,
        _: Request<proto::SubscriptionRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn cancel_subscription(
        &self,
        _: Request<proto::CancelSubscriptionRequest>,
    ) -> Result<Response<proto::CancelSubscriptionResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn undo_cancel(
        &self,
        _: Request<proto::SubscriptionRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}

#[tonic::async_trait]
impl BillingDirectoryService for Api {
    async fn get_customer_standing(
        &self,
        request: Request<proto::GetCustomerStandingRequest>,
    ) -> Result<Response<proto::GetCustomerStandingResponse>, Status> {
        let customer = convert::uuid("customer_id", &request.get_ref().customer_id)?;
        let standing = app::standing(&self.desk, customer).await?;
        Ok(Response::new(proto::GetCustomerStandingResponse {
            highest_plan: standing.highest_plan,
            status: standing.status.into(),
            // Invoices come with the ledger's books.
            unpaid_invoices: 0,
        }))
    }
}

/// An invoice of the caller; operators see all. Another one's looks like none.
pub(super) async fn own_invoice(desk: &Desk, user: &User, id: &str) -> Result<Invoice, Error> {
    let id = Uuid::parse_str(id).map_err(|_| Error::NotFound("invoice"))?;
    invoices::find(&desk.pool, id)
        .await?
        .filter(|found| found.status != InvoiceStatus::Draft)
        .filter(|found| found.customer_id == user.id || user.role >= Role::Operator)
        .ok_or(Error::NotFound("invoice"))
}

/// With its lines.
pub(super) async fn with_lines(desk: &Desk, invoice: Invoice) -> Result<proto::Invoice, Error> {
    let lines = invoices::lines(&desk.pool, invoice.id, invoice.currency()).await?;
    Ok(convert::invoice(invoice, lines, desk.now().await))
}

/// A page of invoices with their lines.
pub(super) async fn invoices_of(
    desk: &Desk,
    filter: &Filter,
    page: Page,
) -> Result<proto::ListInvoicesResponse, Error> {
    let (rows, total) = invoices::list(&desk.pool, filter, page).await?;
    let mut invoices = Vec::with_capacity(rows.len());
    for row in rows {
        invoices.push(with_lines(desk, row).await?);
    }
    Ok(proto::ListInvoicesResponse { invoices, total: u64::try_from(total).unwrap_or(0) })
}

pub(super) fn user<T>(request: &Request<T>) -> Result<&User, Status> {
    Caller::of(request)?.require_user()
}

/// The customer that a request is about; another one than the caller is hidden from customers.
pub(super) fn whose(user: &User, asked: Option<&str>) -> Result<Uuid, Error> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(user.id) };
    let id = Uuid::parse_str(asked).map_err(|_| Error::NotFound("customer"))?;
    if id != user.id && user.role < Role::Operator {
        return Err(Error::NotFound("customer"));
    }
    Ok(id)
}
