//! `BillingService`: reads of the signed-in customer; operators may name another one. `BillingDirectoryService`: look-ups of user-service.

use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_directory_service_server::BillingDirectoryService;
use contracts::billing::v1::billing_service_server::BillingService;
use runtime::identity::{Caller, Role, User};
use runtime::page::Page;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Api, convert};
use crate::app;
use crate::domain::trial::Eligibility;
use crate::error::Error;
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

fn user<T>(request: &Request<T>) -> Result<&User, Status> {
    Caller::of(request)?.require_user()
}

/// The customer that a request is about; another one than the caller is hidden from customers.
fn whose(user: &User, asked: Option<&str>) -> Result<Uuid, Error> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(user.id) };
    let id = Uuid::parse_str(asked).map_err(|_| Error::NotFound("customer"))?;
    if id != user.id && user.role < Role::Operator {
        return Err(Error::NotFound("customer"));
    }
    Ok(id)
}
