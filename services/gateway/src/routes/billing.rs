//! `/billing`: plans and subscriptions (part 4 of the API).

mod findings;
mod money;
mod orders;
mod payments;
mod paynow;
mod pricing;
mod returned;
mod webhooks;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use contracts::billing::v1 as pb;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use serde::Serialize;
use utoipa_axum::routes;

use crate::access::Access::{Admin, Customer, OperatorPlus, Public};
use crate::api::Api;
use crate::context::Ctx;
use crate::dto::billing::{
    OnePlan, OneSubscription, Plan, PlanList, Subscription, SubscriptionList, TrialEligibility,
};
use crate::dto::checks::Checks;
use crate::dto::paging::{PageParams, listed};
use crate::dto::wire;
use crate::extract::{Id, Query};
use crate::problem::Problem;
use crate::routes::present;
use crate::state::App;

/// Adds the routes.
pub fn add(api: Api) -> Api {
    api.add(Public, routes!(list_plans))
        .add(Public, routes!(get_plan))
        .add(Customer, routes!(get_trial_eligibility))
        .add(Customer, routes!(get_trial_eligibility_of))
        .add(Customer, routes!(list_subscriptions))
        .add(Customer, routes!(list_subscriptions_of))
        .add(Customer, routes!(get_subscription))
        .add(Customer, routes!(money::get_overview))
        .add(Customer, routes!(money::get_account))
        .add(Customer, routes!(money::change_account))
        .add(Customer, routes!(money::list_invoices))
        .add(Customer, routes!(money::list_invoices_of))
        .add(Customer, routes!(money::list_subscription_invoices))
        .add(Customer, routes!(money::get_invoice))
        .add(Customer, routes!(money::get_invoice_pdf))
        .add(Customer, routes!(money::upgrade))
        .add(Customer, routes!(money::downgrade))
        .add(Customer, routes!(money::undo_downgrade))
        .add(Customer, routes!(money::delete_subscription))
        .add(Customer, routes!(money::cancel_subscription))
        .add(Customer, routes!(money::undo_cancel))
        .add(OperatorPlus, routes!(money::admin_subscriptions))
        .add(OperatorPlus, routes!(money::admin_invoices))
        .add(OperatorPlus, routes!(money::extend_trial))
        .add(Admin, routes!(money::reconcile_billing))
        .add(Admin, routes!(money::advance_clock))
        .add(Customer, routes!(orders::order_instance))
        .add(Customer, routes!(orders::reactivate_instance))
        .add(Customer, routes!(orders::reactivate_named))
        .add(Customer, routes!(payments::list_payments))
        .add(OperatorPlus, routes!(payments::admin_payments))
        .add(Admin, routes!(payments::record_payment))
        .add(Admin, routes!(payments::give_credit))
        .add(Admin, routes!(payments::void_invoice))
        .add(Admin, routes!(payments::write_off_invoice))
        .add(Customer, routes!(paynow::initiate))
        .add(Customer, routes!(paynow::status))
        .add(Customer, routes!(paynow::pay_test))
        .add(Public, routes!(returned::payment_status))
        .webhook(routes!(paynow::receive_paynow))
        .add(Admin, routes!(paynow::refund_payment))
        .webhook(routes!(webhooks::receive_killbill))
        .add(Admin, routes!(webhooks::admin_webhooks))
        .add(Admin, routes!(webhooks::replay_webhook))
        .add(Admin, routes!(pricing::list_coupons))
        .add(Admin, routes!(pricing::get_coupon))
        .add(Admin, routes!(pricing::create_coupon))
        .add(Admin, routes!(pricing::change_coupon))
        .add(Admin, routes!(pricing::list_coupon_uses))
        .add(Admin, routes!(pricing::list_tax_rates))
        .add(Admin, routes!(pricing::put_tax_rate))
        .add(Admin, routes!(pricing::end_tax_rate))
        .add(Admin, routes!(pricing::withdraw_tax_rate))
        .add(Admin, routes!(findings::list_findings))
        .add(Admin, routes!(findings::get_finding))
        .add(Admin, routes!(findings::acknowledge_finding))
        .add(Admin, routes!(findings::list_audits))
        .add(Admin, routes!(findings::run_audit))
}

/// Plans are the same for everybody and may be kept for a while.
fn kept<T: Serialize>(body: T) -> Response {
    let mut response = Json(body).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}

/// Plans that can be bought.
#[utoipa::path(get, path = "/billing/api/billing/plans", responses((status = 200, body = PlanList)))]
pub async fn list_plans(State(app): State<App>, context: Ctx) -> Result<Response, Problem> {
    let request = context.request(pb::ListPlansRequest { include_unavailable: false });
    let found = app.clients.catalog.clone().list_plans(request).await?.into_inner();
    let plans: Vec<Plan> = found.plans.into_iter().map(Plan::from).collect();
    Ok(kept(PlanList { success: true, total: plans.len(), plans }))
}

/// One plan.
#[utoipa::path(get, path = "/billing/api/billing/plans/{plan_name}", responses((status = 200, body = OnePlan)))]
pub async fn get_plan(
    State(app): State<App>,
    context: Ctx,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    Checks::default().text("plan_name", &name, 1..=100).done()?;
    let request = context.request(pb::GetPlanRequest { name });
    let found = app.clients.catalog.clone().get_plan(request).await?.into_inner();
    Ok(kept(OnePlan { success: true, plan: Plan::from(present(found.plan, "plan")?) }))
}

async fn eligibility(
    app: &App,
    context: &Ctx,
    customer_id: Option<String>,
) -> Result<Json<TrialEligibility>, Problem> {
    let request = context.request(pb::GetTrialEligibilityRequest { customer_id });
    let found = app.clients.billing.clone().get_trial_eligibility(request).await?.into_inner();
    Ok(Json(TrialEligibility::from(found)))
}

/// May the caller have a trial?
#[utoipa::path(get, path = "/billing/api/billing/trial-eligibility", responses((status = 200, body = TrialEligibility)))]
pub async fn get_trial_eligibility(
    State(app): State<App>,
    context: Ctx,
) -> Result<Json<TrialEligibility>, Problem> {
    eligibility(&app, &context, None).await
}

/// May this customer have a trial? Customers name themselves or `me`.
#[utoipa::path(get, path = "/billing/api/billing/trial-eligibility/{customer_id}", responses((status = 200, body = TrialEligibility)))]
pub async fn get_trial_eligibility_of(
    State(app): State<App>,
    context: Ctx,
    Path(wanted): Path<String>,
) -> Result<Json<TrialEligibility>, Problem> {
    let customer = other(&context, &wanted)?;
    eligibility(&app, &context, customer).await
}

/// The named customer, unless it is the caller.
fn other(context: &Ctx, wanted: &str) -> Result<Option<String>, Problem> {
    let id = context.customer(wanted)?;
    Ok(Some(id).filter(|id| Some(*id) != context.user.as_ref().map(|user| user.id)).map(wire))
}

async fn subscriptions(
    app: &App,
    context: &Ctx,
    query: &Query,
    customer_id: Option<String>,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListSubscriptionsRequest {
        customer_id,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing.clone().list_subscriptions(request).await?.into_inner();
    let body = SubscriptionList {
        success: true,
        subscriptions: found.subscriptions.into_iter().map(Subscription::from).collect(),
        subscription_count: found.total,
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(query, page, found.total, body))
}

/// The own subscriptions.
#[utoipa::path(get, path = "/billing/api/billing/subscriptions", params(PageParams), responses((status = 200, body = SubscriptionList)))]
pub async fn list_subscriptions(
    State(app): State<App>,
    context: Ctx,
    query: Query,
) -> Result<Response, Problem> {
    subscriptions(&app, &context, &query, None).await
}

/// A customer's subscriptions. Customers name themselves or `me`.
#[utoipa::path(get, path = "/billing/api/billing/subscriptions/{customer_id}", params(PageParams), responses((status = 200, body = SubscriptionList)))]
pub async fn list_subscriptions_of(
    State(app): State<App>,
    context: Ctx,
    Path(wanted): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let customer = other(&context, &wanted)?;
    subscriptions(&app, &context, &query, customer).await
}

/// One subscription.
#[utoipa::path(get, path = "/billing/api/billing/subscriptions/subscription/{id}", responses((status = 200, body = OneSubscription)))]
pub async fn get_subscription(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<OneSubscription>, Problem> {
    let request = context.request(pb::GetSubscriptionRequest { subscription_id: wire(id) });
    let found = app.clients.billing.clone().get_subscription(request).await?.into_inner();
    let subscription = Subscription::from(present(found.subscription, "subscription")?);
    Ok(Json(OneSubscription { success: true, subscription }))
}
