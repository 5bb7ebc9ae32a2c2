//! Accounts, invoices, changes of plans, operators' lists, the test clock.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use contracts::billing::v1 as pb;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};

use super::other;
use crate::context::Ctx;
use crate::dto::billing::{OneSubscription, Subscription, SubscriptionList};
use crate::dto::checks::Checks;
use crate::dto::money::{
    Advance, BillingAccount, Cancel, CancelAnswer, ChangeAccount, ChangeAnswer, ChangePlan, ClockAnswer,
    DowngradeAnswer, ExtendTrial, Invoice, InvoiceList, OneInvoice, Overview, OverviewAnswer, Reconcile,
    TaskStarted, UpgradeAnswer,
};
use crate::dto::paging::{PageParams, listed};
use crate::dto::scalars::time;
use crate::dto::wire;
use crate::extract::{Body, Id, OptionalBody, Page, Query};
use crate::problem::Problem;
use crate::routes::present;
use crate::state::App;

/// All about an account's money.
#[utoipa::path(get, path = "/billing/api/billing/accounts/overview/{customer_id}", responses((status = 200, body = OverviewAnswer)))]
pub async fn get_overview(
    State(app): State<App>,
    context: Ctx,
    Path(wanted): Path<String>,
) -> Result<Json<OverviewAnswer>, Problem> {
    let customer_id = other(&context, &wanted)?;
    let request = context.request(pb::GetOverviewRequest { customer_id });
    let found = app.clients.billing.clone().get_overview(request).await?.into_inner();
    Ok(Json(OverviewAnswer { success: true, data: Overview::from(found) }))
}

/// A billing account.
#[utoipa::path(get, path = "/billing/api/billing/accounts/{customer_id}", responses((status = 200, body = BillingAccount)))]
pub async fn get_account(
    State(app): State<App>,
    context: Ctx,
    Path(wanted): Path<String>,
) -> Result<Json<BillingAccount>, Problem> {
    let customer_id = other(&context, &wanted)?;
    let request = context.request(pb::GetAccountRequest { customer_id });
    let found = app.clients.billing.clone().get_account(request).await?.into_inner();
    Ok(Json(BillingAccount::from(present(found.account, "account")?)))
}

/// Change the own billing account.
#[utoipa::path(put, path = "/billing/api/billing/accounts/{customer_id}", request_body = ChangeAccount, responses((status = 200, body = BillingAccount)))]
pub async fn change_account(
    State(app): State<App>,
    context: Ctx,
    Path(wanted): Path<String>,
    Body(body): Body<ChangeAccount>,
) -> Result<Json<BillingAccount>, Problem> {
    Checks::default()
        .optional("company", body.company.as_deref(), 0..=200)
        .optional("tax_id", body.tax_id.as_deref(), 0..=50)
        .optional("billing_email", body.billing_email.as_deref(), 0..=254)
        .done()?;
    let customer_id = other(&context, &wanted)?;
    let request = context.request(pb::UpdateAccountRequest {
        company: body.company,
        tax_id: body.tax_id,
        billing_email: body.billing_email,
        address: body.address.map(|address| pb::Address {
            street: address.street,
            city: address.city,
            postal_code: address.postal_code,
            region: address.region,
        }),
        country: body.country,
        customer_id,
    });
    let found = app.clients.billing.clone().update_account(request).await?.into_inner();
    Ok(Json(BillingAccount::from(present(found.account, "account")?)))
}

fn page_of(found: pb::ListInvoicesResponse, query: &Query, page: Page) -> Response {
    let body = InvoiceList {
        success: true,
        invoices: found.invoices.into_iter().map(Invoice::from).collect(),
        invoice_count: found.total,
        total: found.total,
        page: page.number,
        page_size: page.size,
        limit: page.size,
    };
    listed(query, page, found.total, body)
}

async fn invoices(
    app: &App,
    context: &Ctx,
    query: &Query,
    customer_id: Option<String>,
    subscription_id: Option<String>,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListInvoicesRequest {
        customer_id,
        subscription_id,
        status: query.text("status"),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing.clone().list_invoices(request).await?.into_inner();
    Ok(page_of(found, query, page))
}

/// The own invoices.
#[utoipa::path(get, path = "/billing/api/billing/invoices",
    params(PageParams, ("status" = Option<String>, Query, description = "open, paid, void, written_off")),
    responses((status = 200, body = InvoiceList)))]
pub async fn list_invoices(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    invoices(&app, &context, &query, None, None).await
}

/// A customer's invoices. Customers name themselves or `me`.
#[utoipa::path(get, path = "/billing/api/billing/invoices/{customer_id}", params(PageParams), responses((status = 200, body = InvoiceList)))]
pub async fn list_invoices_of(
    State(app): State<App>,
    context: Ctx,
    Path(wanted): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    let customer_id = other(&context, &wanted)?;
    invoices(&app, &context, &query, customer_id, None).await
}

/// Invoices of a subscription.
#[utoipa::path(get, path = "/billing/api/billing/subscriptions/subscription/{id}/invoices", params(PageParams), responses((status = 200, body = InvoiceList)))]
pub async fn list_subscription_invoices(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
) -> Result<Response, Problem> {
    // A subscription that is missing or somebody else's is a 404, and no subscription without invoices.
    let asked = context.request(pb::GetSubscriptionRequest { subscription_id: wire(id) });
    app.clients.billing.clone().get_subscription(asked).await?;
    invoices(&app, &context, &query, None, Some(wire(id))).await
}

/// One invoice with its lines.
#[utoipa::path(get, path = "/billing/api/billing/invoices/{id}/details", responses((status = 200, body = OneInvoice)))]
pub async fn get_invoice(
    State(app): State<App>,
    context: Ctx,
    Path(id): Path<String>,
) -> Result<Json<OneInvoice>, Problem> {
    let request = context.request(pb::GetInvoiceRequest { invoice_id: id });
    let found = app.clients.billing.clone().get_invoice(request).await?.into_inner();
    Ok(Json(OneInvoice { success: true, invoice: Invoice::from(present(found.invoice, "invoice")?) }))
}

/// One invoice as a document.
#[utoipa::path(get, path = "/billing/api/billing/invoices/{id}/pdf", responses((status = 200, body = String, content_type = "application/pdf", example = "%PDF-1.7")))]
pub async fn get_invoice_pdf(
    State(app): State<App>,
    context: Ctx,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let request = context.request(pb::GetInvoiceRequest { invoice_id: id });
    let found = app.clients.billing.clone().get_invoice_pdf(request).await?.into_inner();
    let headers = [
        (CONTENT_TYPE, "application/pdf".to_owned()),
        (CONTENT_DISPOSITION, format!("inline; filename=\"{}\"", found.file_name)),
    ];
    Ok((headers, found.pdf).into_response())
}

/// Change to a larger plan, or ask what it costs.
#[utoipa::path(post, path = "/billing/api/billing/subscriptions/subscription/{id}/upgrade", request_body = ChangePlan,
    params(("preview" = Option<bool>, Query)), responses((status = 200, body = UpgradeAnswer), (status = 202, body = UpgradeAnswer)))]
pub async fn upgrade(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
    Body(body): Body<ChangePlan>,
) -> Result<Response, Problem> {
    let preview = body.preview || query.flag("preview")?;
    let request = context.request(pb::UpgradeSubscriptionRequest {
        subscription_id: wire(id),
        target_plan_name: body.target_plan_name,
        preview,
    });
    let answer = app.clients.billing.clone().upgrade_subscription(request).await?.into_inner();
    let status = if preview { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(UpgradeAnswer::from(answer))).into_response())
}

/// Change to a smaller plan when the period ends, or ask whether the data fits.
#[utoipa::path(post, path = "/billing/api/billing/subscriptions/subscription/{id}/downgrade", request_body = ChangePlan,
    params(("preview" = Option<bool>, Query)), responses((status = 200, body = DowngradeAnswer), (status = 202, body = DowngradeAnswer),
        (status = 409, description = "storage_exceeds_plan, usage_unknown, not_a_downgrade, change_blocked")))]
pub async fn downgrade(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
    Body(body): Body<ChangePlan>,
) -> Result<Response, Problem> {
    let preview = body.preview || query.flag("preview")?;
    let request = context.request(pb::DowngradeSubscriptionRequest {
        subscription_id: wire(id),
        target_plan_name: body.target_plan_name,
        preview,
    });
    let answer = app.clients.billing.clone().downgrade_subscription(request).await?.into_inner();
    let status = if preview { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(DowngradeAnswer::of(answer, preview))).into_response())
}

/// Take a downgrade back.
#[utoipa::path(post, path = "/billing/api/billing/subscriptions/subscription/{id}/downgrade/undo", responses((status = 200, body = ChangeAnswer)))]
pub async fn undo_downgrade(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<ChangeAnswer>, Problem> {
    let request = context.request(pb::SubscriptionRequest { subscription_id: wire(id) });
    let answer = app.clients.billing.clone().undo_downgrade(request).await?.into_inner();
    Ok(Json(ChangeAnswer::from(answer)))
}

async fn cancelled(
    app: &App,
    context: &Ctx,
    id: String,
    body: Cancel,
) -> Result<Json<CancelAnswer>, Problem> {
    Checks::default().text("reason", &body.reason, 0..=500).done()?;
    let request = context.request(pb::CancelSubscriptionRequest {
        subscription_id: id,
        reason: body.reason,
        immediate: body.immediate,
    });
    let answer = app.clients.billing.clone().cancel_subscription(request).await?.into_inner();
    Ok(Json(CancelAnswer {
        success: true,
        plan_name: answer.subscription.map(|row| row.plan_name).unwrap_or_default(),
        cancel_at: time(answer.cancel_at.as_ref()),
        instance_ends_at: time(answer.instance_ends_at.as_ref()),
    }))
}

/// Cancel a subscription: with the period, or now.
#[utoipa::path(delete, path = "/billing/api/billing/subscriptions/subscription/{id}", request_body = Option<Cancel>, responses((status = 200, body = CancelAnswer)))]
pub async fn delete_subscription(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(body): OptionalBody<Cancel>,
) -> Result<Json<CancelAnswer>, Problem> {
    cancelled(&app, &context, wire(id), body).await
}

/// Cancel a subscription: with the period, or now.
#[utoipa::path(post, path = "/billing/api/billing/subscriptions/subscription/{id}/cancel", request_body = Option<Cancel>, responses((status = 200, body = CancelAnswer)))]
pub async fn cancel_subscription(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(body): OptionalBody<Cancel>,
) -> Result<Json<CancelAnswer>, Problem> {
    cancelled(&app, &context, wire(id), body).await
}

/// Take a cancellation back.
#[utoipa::path(post, path = "/billing/api/billing/subscriptions/subscription/{id}/cancel/undo", responses((status = 200, body = ChangeAnswer)))]
pub async fn undo_cancel(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<ChangeAnswer>, Problem> {
    let request = context.request(pb::SubscriptionRequest { subscription_id: wire(id) });
    let answer = app.clients.billing.clone().undo_cancel(request).await?.into_inner();
    Ok(Json(ChangeAnswer::from(answer)))
}

/// All subscriptions.
#[utoipa::path(get, path = "/billing/api/billing/admin/subscriptions",
    params(PageParams, ("customer_id" = Option<String>, Query), ("status" = Option<String>, Query), ("ladder" = Option<String>, Query)),
    responses((status = 200, body = SubscriptionList)))]
pub async fn admin_subscriptions(
    State(app): State<App>,
    context: Ctx,
    query: Query,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::AdminListSubscriptionsRequest {
        customer_id: query.text("customer_id"),
        status: query.text("status"),
        ladder_state: query.text("ladder"),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing_admin.clone().admin_list_subscriptions(request).await?.into_inner();
    let body = SubscriptionList {
        success: true,
        subscriptions: found.subscriptions.into_iter().map(Subscription::from).collect(),
        subscription_count: found.total,
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// All invoices.
#[utoipa::path(get, path = "/billing/api/billing/admin/invoices",
    params(PageParams, ("customer_id" = Option<String>, Query), ("status" = Option<String>, Query), ("overdue" = Option<bool>, Query)),
    responses((status = 200, body = InvoiceList)))]
pub async fn admin_invoices(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::AdminListInvoicesRequest {
        customer_id: query.text("customer_id"),
        status: query.text("status"),
        overdue: query.flag("overdue")?,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing_admin.clone().admin_list_invoices(request).await?.into_inner();
    Ok(page_of(found, &query, page))
}

/// Lengthen a running trial.
#[utoipa::path(post, path = "/billing/api/billing/admin/subscriptions/{id}/extend-trial", request_body = ExtendTrial, responses((status = 200, body = OneSubscription)))]
pub async fn extend_trial(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<ExtendTrial>,
) -> Result<Json<OneSubscription>, Problem> {
    Checks::default()
        .that((1..=30).contains(&body.days), "days", "must be from 1 to 30")
        .text("reason", &body.reason, 5..=500)
        .done()?;
    let request = context.request(pb::ExtendTrialRequest {
        subscription_id: wire(id),
        days: body.days,
        reason: body.reason,
    });
    let found = app.clients.billing_admin.clone().extend_trial(request).await?.into_inner();
    let subscription = Subscription::from(present(found.subscription, "subscription")?);
    Ok(Json(OneSubscription { success: true, subscription }))
}

/// Compare books, documents, subscriptions and instances.
#[utoipa::path(post, path = "/billing/api/billing/admin/reconcile", request_body = Option<Reconcile>, responses((status = 202, body = TaskStarted)))]
pub async fn reconcile_billing(
    State(app): State<App>,
    context: Ctx,
    OptionalBody(body): OptionalBody<Reconcile>,
) -> Result<Response, Problem> {
    let request = context.request(pb::ReconcileRequest { customer_id: body.customer_id.map(wire) });
    let started = app.clients.billing_admin.clone().reconcile(request).await?.into_inner();
    Ok((StatusCode::ACCEPTED, Json(TaskStarted { task_id: started.task_id })).into_response())
}

/// Move the test clock forward; what is due then has happened when it answers. Not in production.
#[utoipa::path(post, path = "/billing/api/billing/test/clock", request_body = Advance, responses((status = 200, body = ClockAnswer)))]
pub async fn advance_clock(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Advance>,
) -> Result<Json<ClockAnswer>, Problem> {
    let seconds = body.seconds().ok_or_else(|| {
        Problem::field(
            "advance",
            "must be an ISO 8601 duration of weeks, days, hours, minutes and seconds, such as P15D",
        )
    })?;
    let request = context.request(pb::AdvanceClockRequest { seconds });
    let moved = app.clients.billing_admin.clone().advance_clock(request).await?.into_inner();
    Ok(Json(ClockAnswer { now: time(moved.now.as_ref()) }))
}
