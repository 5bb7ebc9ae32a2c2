//! Orders: an instance with its subscription in one call, and an ended instance that comes back (BIL-13, BIL-25).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contracts::billing::v1 as money;
use contracts::instance::v1 as pb;
use http::header::LOCATION;
use http::{HeaderMap, StatusCode};

use crate::context::Ctx;
use crate::dto::billing::Subscription;
use crate::dto::checks::Checks;
use crate::dto::instance::CreateInstance;
use crate::dto::money::Invoice;
use crate::dto::orders::{Ordered, Reactivate, ReactivateNamed, Reactivated};
use crate::dto::wire;
use crate::extract::{Body, Id, idempotency_key};
use crate::problem::Problem;
use crate::routes::present;
use crate::state::App;

/// Subscription and first invoice of a new order. The order stands whether they can be read now or not.
async fn bought(
    app: &App,
    context: &Ctx,
    instance: &pb::Instance,
) -> (Option<Subscription>, Option<Invoice>) {
    let id = instance.subscription_id.clone();
    let subscription = context.request(money::GetSubscriptionRequest { subscription_id: id.clone() });
    let invoices = context.request(money::ListInvoicesRequest {
        customer_id: Some(instance.customer_id.clone()),
        subscription_id: Some(id),
        status: None,
        page: 1,
        page_size: 1,
    });
    let (mut subscriptions, mut documents) = (app.clients.billing.clone(), app.clients.billing.clone());
    let (subscription, invoices) =
        tokio::join!(subscriptions.get_subscription(subscription), documents.list_invoices(invoices));
    if let Err(status) = subscription.as_ref().and(invoices.as_ref().map(drop)) {
        tracing::warn!(code = ?status.code(), "an order is placed, its papers cannot be read now");
    }
    let subscription = subscription.ok().and_then(|found| found.into_inner().subscription);
    let invoice = invoices.ok().and_then(|found| found.into_inner().invoices.into_iter().next());
    (subscription.map(Subscription::from), invoice.map(Invoice::from))
}

/// Order an instance with its subscription.
#[utoipa::path(post, path = "/billing/api/billing/instances", request_body = CreateInstance,
    params(("Idempotency-Key" = Option<String>, Header, description = "the same key and body give the same order again")),
    responses((status = 201, body = Ordered), (status = 409, description = "subdomain_taken, quota_exceeded, idempotency_mismatch"),
        (status = 503, description = "provider_unavailable")))]
pub async fn order_instance(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    Body(body): Body<CreateInstance>,
) -> Result<Response, Problem> {
    let request = context.request(body.checked(idempotency_key(&headers)?)?);
    let created = app.clients.instances.clone().create_instance(request).await?.into_inner();
    let instance = present(created.instance, "instance")?;
    let (subscription, invoice) = bought(&app, &context, &instance).await;
    let message = if instance.status == "pending_payment" {
        "ordered; it is made when the invoice is paid"
    } else {
        "ordered; it is being made"
    };
    let location = format!("/instance/instances/{}", instance.id);
    let body = Ordered {
        success: true,
        subscription_id: instance.subscription_id,
        subscription,
        invoice,
        instance_id: instance.id,
        message,
    };
    Ok((StatusCode::CREATED, [(LOCATION, location)], Json(body)).into_response())
}

async fn bring_back(
    app: &App,
    context: &Ctx,
    instance_id: String,
    plan_name: String,
    coupon: Option<String>,
) -> Result<Response, Problem> {
    Checks::default()
        .text("plan_name", &plan_name, 1..=100)
        .optional("coupon", coupon.as_deref(), 1..=50)
        .done()?;
    let coupon = coupon.unwrap_or_default();
    let request = context.request(pb::ReactivateInstanceRequest { instance_id, plan_name, coupon });
    let answer = app.clients.instances.clone().reactivate_instance(request).await?.into_inner();
    let instance = present(answer.instance, "instance")?;
    let (_, invoice) = bought(app, context, &instance).await;
    let body = Reactivated {
        success: true,
        subscription_id: instance.subscription_id,
        invoice,
        instance_id: instance.id,
        status: instance.status,
        operation_id: answer.operation.map(|operation| operation.id),
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Bring an ended instance back with its data.
#[utoipa::path(post, path = "/billing/api/billing/instances/{id}/reactivate", request_body = Reactivate,
    responses((status = 202, body = Reactivated), (status = 402, description = "unpaid_invoices"),
        (status = 409, description = "not_terminated, storage_exceeds_plan, quota_exceeded"), (status = 410, description = "purged")))]
pub async fn reactivate_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reactivate>,
) -> Result<Response, Problem> {
    bring_back(&app, &context, wire(id), body.plan_name, body.coupon).await
}

/// Bring an ended instance back with its data.
#[utoipa::path(post, path = "/billing/api/billing/instances/reactivate", request_body = ReactivateNamed,
    responses((status = 202, body = Reactivated), (status = 402, description = "unpaid_invoices"),
        (status = 409, description = "not_terminated, storage_exceeds_plan, quota_exceeded"), (status = 410, description = "purged")))]
pub async fn reactivate_named(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<ReactivateNamed>,
) -> Result<Response, Problem> {
    bring_back(&app, &context, wire(body.instance_id), body.plan_name, body.coupon).await
}
