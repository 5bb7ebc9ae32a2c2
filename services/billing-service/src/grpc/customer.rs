//! `BillingService`: reads of the signed-in customer; operators may name another one.
//! `BillingDirectoryService`: look-ups of user-service.

use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_directory_service_server::BillingDirectoryService;
use contracts::billing::v1::billing_service_server::BillingService;
use contracts::scalars::timestamp;
use runtime::identity::{Caller, Role, User};
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, convert};
use crate::app::accounts::change::update_account;
use crate::app::accounts::overview::overview;
use crate::app::invoices;
use crate::app::invoices::document::invoice_pdf;
use crate::app::orders::trial::{TrialAnswer, trial_eligibility};
use crate::app::subscriptions::standing::standing;
use crate::app::subscriptions::{self, change, downgrade};
use crate::app::{App, repeat};
use crate::domain::details::{AccountChange, Address};
use crate::domain::invoice::{Invoice, InvoiceFilter};
use crate::domain::subscription::Subscription;
use crate::domain::trial::Eligibility;
use crate::error::Error;

#[tonic::async_trait]
impl BillingService for Api {
    async fn get_trial_eligibility(
        &self,
        request: Request<proto::GetTrialEligibilityRequest>,
    ) -> Result<Response<proto::GetTrialEligibilityResponse>, Status> {
        let customer = whose(user(&request)?, request.get_ref().customer_id.as_deref())?;
        let answer = trial_eligibility(&self.app, customer).await?;
        Ok(Response::new(trial_info(&self.app, answer)))
    }

    async fn list_subscriptions(
        &self,
        request: Request<proto::ListSubscriptionsRequest>,
    ) -> Result<Response<proto::ListSubscriptionsResponse>, Status> {
        let asked = request.get_ref();
        let customer = whose(user(&request)?, asked.customer_id.as_deref())?;
        let page = Page::try_new(asked.page, asked.page_size)?;
        let (views, total) = subscriptions::read::of_customer(&self.app, customer, page).await?;
        Ok(Response::new(proto::ListSubscriptionsResponse {
            subscriptions: views.into_iter().map(convert::subscription).collect(),
            total: u64::try_from(total).unwrap_or(0),
        }))
    }

    async fn get_subscription(
        &self,
        request: Request<proto::GetSubscriptionRequest>,
    ) -> Result<Response<proto::GetSubscriptionResponse>, Status> {
        let found = own_subscription(&self.app, user(&request)?, &request.get_ref().subscription_id).await?;
        let subscription = Some(shown(&self.app, found).await?);
        Ok(Response::new(proto::GetSubscriptionResponse { subscription }))
    }

    async fn get_provider_health(
        &self,
        _: Request<proto::GetProviderHealthRequest>,
    ) -> Result<Response<proto::GetProviderHealthResponse>, Status> {
        let health = self.app.provider.health().await;
        if let Err(error) = &health {
            tracing::warn!(error = format!("{error:#}"), "the billing provider does not work");
        }
        Ok(Response::new(proto::GetProviderHealthResponse {
            provider: self.app.provider.name().as_str().into(),
            healthy: health.is_ok(),
            // The cause stays in the log: this page is public.
            detail: if health.is_ok() { "ok" } else { "the provider does not answer" }.into(),
        }))
    }

    async fn get_overview(
        &self,
        request: Request<proto::GetOverviewRequest>,
    ) -> Result<Response<proto::GetOverviewResponse>, Status> {
        let customer = whose(user(&request)?, request.get_ref().customer_id.as_deref())?;
        let found = overview(&self.app, customer).await?;
        let trial = trial_eligibility(&self.app, customer).await?;
        let active = shown_all(&self.app, found.active).await?;
        let mut outstanding = Vec::with_capacity(found.outstanding.len());
        for row in found.outstanding {
            outstanding.push(with_lines(&self.app, row).await?);
        }
        let stale_since = found.account.stale_since.map(timestamp);
        Ok(Response::new(proto::GetOverviewResponse {
            account: Some(convert::account(found.account, found.credit)),
            active_subscriptions: active,
            pending_subscriptions: shown_all(&self.app, found.pending).await?,
            outstanding_invoices: outstanding,
            total_outstanding: Some(convert::money(found.total)),
            credit: Some(convert::money(found.credit)),
            next_billing_date: found.next.map(|(at, _)| timestamp(at)),
            next_billing_amount: found.next.map(|(_, amount)| convert::money(amount)),
            trial_info: Some(trial_info(&self.app, trial)),
            ladder_state: found.dunning.as_str().into(),
            stale_since,
        }))
    }

    async fn get_account(
        &self,
        request: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        let customer = whose(user(&request)?, request.get_ref().customer_id.as_deref())?;
        Ok(Response::new(account_of(&self.app, customer).await?))
    }

    async fn update_account(
        &self,
        request: Request<proto::UpdateAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        let caller = user(&request)?.clone();
        let wanted = request.into_inner();
        let customer = whose(&caller, wanted.customer_id.as_deref())?;
        let address = wanted.address.map(|address| Address {
            street: address.street,
            city: address.city,
            postal_code: address.postal_code,
            region: address.region,
        });
        let change = AccountChange {
            company: wanted.company,
            tax_id: wanted.tax_id,
            billing_email: wanted.billing_email,
            address,
            country: wanted.country,
        };
        update_account(&self.app, &caller, customer, change).await?;
        Ok(Response::new(account_of(&self.app, customer).await?))
    }

    async fn list_invoices(
        &self,
        request: Request<proto::ListInvoicesRequest>,
    ) -> Result<Response<proto::ListInvoicesResponse>, Status> {
        let asked = request.get_ref();
        let customer = whose(user(&request)?, asked.customer_id.as_deref())?;
        let page = Page::try_new(asked.page, asked.page_size)?;
        let (customer, subscription) = match asked.subscription_id.as_deref() {
            None => (customer, None),
            Some(id) => {
                let found = own_subscription(&self.app, user(&request)?, id).await?;
                (found.customer_id, Some(found.id))
            }
        };
        let filter = InvoiceFilter {
            customer_id: Some(customer),
            subscription_id: subscription,
            status: asked.status.clone(),
            overdue_at: None,
        };
        Ok(Response::new(invoices_of(&self.app, &filter, page).await?))
    }

    async fn get_invoice(
        &self,
        request: Request<proto::GetInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoiceResponse>, Status> {
        let found = own_invoice(&self.app, user(&request)?, &request.get_ref().invoice_id).await?;
        let invoice = with_lines(&self.app, found).await?;
        Ok(Response::new(proto::GetInvoiceResponse { invoice: Some(invoice) }))
    }

    async fn get_invoice_pdf(
        &self,
        request: Request<proto::GetInvoiceRequest>,
    ) -> Result<Response<proto::GetInvoicePdfResponse>, Status> {
        let found = own_invoice(&self.app, user(&request)?, &request.get_ref().invoice_id).await?;
        let (pdf, file_name) = invoice_pdf(&self.app, found).await?;
        Ok(Response::new(proto::GetInvoicePdfResponse { pdf, file_name }))
    }

    async fn upgrade_subscription(
        &self,
        request: Request<proto::UpgradeSubscriptionRequest>,
    ) -> Result<Response<proto::UpgradeSubscriptionResponse>, Status> {
        let (customer, id) = target(user(&request)?, &request.get_ref().subscription_id)?;
        let wanted = request.into_inner();
        let now = self.app.now().await;
        let (plan, preview) = (&wanted.target_plan_name, wanted.preview);
        let quote = repeat(|| change::upgrade(&self.app, customer, id, plan, preview, now)).await?;
        let moves_database = quote.current.db_type != quote.target.db_type;
        let invoice = match quote.invoice {
            Some(invoice) => Some(with_lines(&self.app, invoice).await?),
            None => None,
        };
        Ok(Response::new(proto::UpgradeSubscriptionResponse {
            current_plan: Some(convert::plan(quote.current)),
            target_plan: Some(convert::plan(quote.target)),
            amount_due: Some(convert::money(quote.amount_due)),
            credit: Some(convert::money(quote.credit)),
            effective_at: Some(timestamp(now)),
            invoice,
            status: quote.status.into(),
            subscription: Some(shown(&self.app, quote.subscription).await?),
            moves_database,
        }))
    }

    async fn downgrade_subscription(
        &self,
        request: Request<proto::DowngradeSubscriptionRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        let (customer, id) = target(user(&request)?, &request.get_ref().subscription_id)?;
        let wanted = request.into_inner();
        let (target, now) = (&wanted.target_plan_name, self.app.now().await);
        let ask = || downgrade::downgrade(&self.app, customer, id, target, wanted.preview, now);
        let outcome = repeat(ask).await?;
        Ok(Response::new(proto::ChangeResponse {
            effective_at: outcome.effective_at.map(timestamp),
            storage_used_bytes: outcome.used_bytes,
            refusal: outcome.refusal.map(|(reason, _)| reason.to_owned()).unwrap_or_default(),
            moves_database: outcome.current.db_type != outcome.target.db_type,
            target_plan: Some(convert::plan(outcome.target)),
            subscription: Some(shown(&self.app, outcome.subscription).await?),
        }))
    }

    async fn undo_downgrade(
        &self,
        request: Request<proto::SubscriptionRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        let (customer, id) = target(user(&request)?, &request.get_ref().subscription_id)?;
        let now = self.app.now().await;
        let row = repeat(|| downgrade::undo_downgrade(&self.app, customer, id, now)).await?;
        Ok(Response::new(proto::ChangeResponse {
            subscription: Some(shown(&self.app, row).await?),
            ..proto::ChangeResponse::default()
        }))
    }

    async fn cancel_subscription(
        &self,
        request: Request<proto::CancelSubscriptionRequest>,
    ) -> Result<Response<proto::CancelSubscriptionResponse>, Status> {
        let (customer, id) = target(user(&request)?, &request.get_ref().subscription_id)?;
        let wanted = request.into_inner();
        if wanted.reason.chars().count() > 500 {
            return Err(Error::Field { field: "reason", message: "must have at most 500 characters" }.into());
        }
        let now = self.app.now().await;
        let (reason, immediate) = (&wanted.reason, wanted.immediate);
        let row = repeat(|| change::cancel(&self.app, customer, id, reason, immediate, now)).await?;
        let cancel_at = row.cancel_at.map(timestamp);
        Ok(Response::new(proto::CancelSubscriptionResponse {
            subscription: Some(shown(&self.app, row).await?),
            cancel_at,
            instance_ends_at: cancel_at,
        }))
    }

    async fn undo_cancel(
        &self,
        request: Request<proto::SubscriptionRequest>,
    ) -> Result<Response<proto::ChangeResponse>, Status> {
        let (customer, id) = target(user(&request)?, &request.get_ref().subscription_id)?;
        let now = self.app.now().await;
        let row = repeat(|| change::undo_cancel(&self.app, customer, id, now)).await?;
        Ok(Response::new(proto::ChangeResponse {
            subscription: Some(shown(&self.app, row).await?),
            ..proto::ChangeResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl BillingDirectoryService for Api {
    async fn get_customer_standing(
        &self,
        request: Request<proto::GetCustomerStandingRequest>,
    ) -> Result<Response<proto::GetCustomerStandingResponse>, Status> {
        let customer = convert::uuid("customer_id", &request.get_ref().customer_id)?;
        let standing = standing(&self.app, customer).await?;
        let unpaid = invoices::read::unpaid_of(&self.app, customer).await?;
        Ok(Response::new(proto::GetCustomerStandingResponse {
            highest_plan: standing.highest_plan,
            status: standing.status.into(),
            unpaid_invoices: u32::try_from(unpaid).unwrap_or(0),
        }))
    }
}

fn trial_info(app: &App, answer: TrialAnswer) -> proto::GetTrialEligibilityResponse {
    let eligible = answer.eligibility == Eligibility::Eligible;
    proto::GetTrialEligibilityResponse {
        eligible,
        can_show_trial_info: eligible,
        trial_days: u32::from(app.trial_days),
        has_active_subscriptions: answer.live > 0,
        subscription_count: u32::try_from(answer.live).unwrap_or(u32::MAX),
        reason: answer.eligibility.as_str().into(),
    }
}

/// A subscription with the date at which its dunning goes on.
pub(super) async fn shown(app: &App, row: Subscription) -> Result<proto::Subscription, Error> {
    Ok(convert::subscription(subscriptions::read::view(app, row).await?))
}

/// Many of them.
async fn shown_all(app: &App, rows: Vec<Subscription>) -> Result<Vec<proto::Subscription>, Error> {
    let views = subscriptions::read::views(app, rows).await?;
    Ok(views.into_iter().map(convert::subscription).collect())
}

/// Which subscription a change is about, and whose it must be; admins change any.
fn target(user: &User, id: &str) -> Result<(Option<Uuid>, Uuid), Error> {
    let id = Uuid::parse_str(id).map_err(|_| Error::NotFound("subscription"))?;
    Ok(((user.role < Role::Admin).then_some(user.id), id))
}

async fn account_of(app: &App, customer: Uuid) -> Result<proto::GetAccountResponse, Error> {
    let found = overview(app, customer).await?;
    Ok(proto::GetAccountResponse { account: Some(convert::account(found.account, found.credit)) })
}

/// An invoice that the caller may see. A text that is no id looks like an id that does not exist.
async fn own_invoice(app: &App, user: &User, id: &str) -> Result<Invoice, Error> {
    let id = Uuid::parse_str(id).map_err(|_| Error::NotFound("invoice"))?;
    invoices::read::visible(app, user, id).await
}

/// A subscription that the caller may see.
async fn own_subscription(app: &App, user: &User, id: &str) -> Result<Subscription, Error> {
    let id = Uuid::parse_str(id).map_err(|_| Error::NotFound("subscription"))?;
    subscriptions::read::visible(app, user, id).await
}

/// With its lines.
pub(super) async fn with_lines(app: &App, invoice: Invoice) -> Result<proto::Invoice, Error> {
    Ok(convert::invoice(invoices::read::view(app, invoice).await?))
}

/// A page of invoices with their lines.
pub(super) async fn invoices_of(
    app: &App,
    filter: &InvoiceFilter,
    page: Page,
) -> Result<proto::ListInvoicesResponse, Error> {
    let (views, total) = invoices::read::list(app, filter, page).await?;
    Ok(proto::ListInvoicesResponse {
        invoices: views.into_iter().map(convert::invoice).collect(),
        total: u64::try_from(total).unwrap_or(0),
    })
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
