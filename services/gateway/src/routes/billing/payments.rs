//! Payments, credits and closed invoices.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contracts::billing::v1 as pb;
use http::{HeaderMap, StatusCode};
use time::OffsetDateTime;

use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::money::{
    CreditAnswer, GiveCredit, Invoice, OneInvoice, OnePayment, Payment, PaymentList, RecordPayment,
};
use crate::dto::paging::{PageParams, listed};
use crate::dto::scalars::{Money, text};
use crate::dto::{Reason, wire};
use crate::extract::{Body, Id, Page, Query, idempotency_key};
use crate::problem::Problem;
use crate::routes::present;
use crate::state::App;

fn page_of(found: pb::ListPaymentsResponse, query: &Query, page: Page) -> Response {
    let body = PaymentList {
        success: true,
        payments: found.payments.into_iter().map(Payment::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    listed(query, page, found.total, body)
}

/// The own payments.
#[utoipa::path(get, path = "/billing/api/billing/payments", params(PageParams), responses((status = 200, body = PaymentList)))]
pub async fn list_payments(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListPaymentsRequest {
        customer_id: None,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.payments.clone().list_payments(request).await?.into_inner();
    Ok(page_of(found, &query, page))
}

/// All payments.
#[utoipa::path(get, path = "/billing/api/billing/admin/payments",
    params(PageParams, ("customer_id" = Option<String>, Query), ("status" = Option<String>, Query), ("gateway" = Option<String>, Query)),
    responses((status = 200, body = PaymentList)))]
pub async fn admin_payments(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::AdminListPaymentsRequest {
        customer_id: query.text("customer_id"),
        state: query.text("status"),
        gateway: query.text("gateway"),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing_admin.clone().admin_list_payments(request).await?.into_inner();
    Ok(page_of(found, &query, page))
}

/// Record a payment from outside.
#[utoipa::path(post, path = "/billing/api/billing/admin/payments", request_body = RecordPayment, responses((status = 201, body = OnePayment)))]
pub async fn record_payment(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<RecordPayment>,
) -> Result<Response, Problem> {
    Checks::default()
        .text("reference", &body.reference, 1..=100)
        .text("reason", &body.reason, 5..=500)
        .that(body.amount.amount_minor > 0, "amount", "must be positive")
        .done()?;
    let request = context.request(pb::RecordPaymentRequest {
        invoice_id: body.invoice_id,
        amount: Some(body.amount.into()),
        reference: body.reference,
        received_at: body.received_at.map(stamp),
        reason: body.reason,
    });
    let recorded = app.clients.billing_admin.clone().record_payment(request).await?.into_inner();
    let payment = Payment::from(present(recorded.payment, "payment")?);
    Ok((StatusCode::CREATED, Json(OnePayment { success: true, payment })).into_response())
}

fn stamp(at: OffsetDateTime) -> prost_types::Timestamp {
    contracts::scalars::timestamp(at)
}

/// Give a credit, once for its `Idempotency-Key`, which must be there.
#[utoipa::path(post, path = "/billing/api/billing/admin/credits", request_body = GiveCredit,
    params(("Idempotency-Key" = String, Header, description = "a credit is given once for it; another amount with it is 409 `idempotency_mismatch`")),
    responses((status = 201, body = CreditAnswer), (status = 409, description = "idempotency_mismatch")))]
pub async fn give_credit(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    Body(body): Body<GiveCredit>,
) -> Result<Response, Problem> {
    let idempotency_key = idempotency_key(&headers)?;
    Checks::default()
        .text("reason", &body.reason, 5..=500)
        .that(body.amount.amount_minor > 0, "amount", "must be positive")
        .that(!idempotency_key.is_empty(), "Idempotency-Key", "must be given")
        .done()?;
    let request = context.request(pb::GiveCreditRequest {
        customer_id: body.customer_id,
        amount: Some(body.amount.into()),
        reason: body.reason,
        idempotency_key,
    });
    let given = app.clients.billing_admin.clone().give_credit(request).await?.into_inner();
    let answer = CreditAnswer { credit_id: text(given.credit_id), credit: given.credit.map(Money::from) };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

/// Void an invoice.
#[utoipa::path(post, path = "/billing/api/billing/admin/invoices/{id}/void", request_body = Reason, responses((status = 200, body = OneInvoice)))]
pub async fn void_invoice(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Json<OneInvoice>, Problem> {
    let request = context.request(pb::CloseInvoiceRequest { invoice_id: wire(id), reason: body.checked()? });
    let closed = app.clients.billing_admin.clone().void_invoice(request).await?.into_inner();
    Ok(Json(OneInvoice { success: true, invoice: Invoice::from(present(closed.invoice, "invoice")?) }))
}

/// Write an invoice off.
#[utoipa::path(post, path = "/billing/api/billing/admin/invoices/{id}/write-off", request_body = Reason, responses((status = 200, body = OneInvoice)))]
pub async fn write_off_invoice(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Json<OneInvoice>, Problem> {
    let request = context.request(pb::CloseInvoiceRequest { invoice_id: wire(id), reason: body.checked()? });
    let closed = app.clients.billing_admin.clone().write_off_invoice(request).await?.into_inner();
    Ok(Json(OneInvoice { success: true, invoice: Invoice::from(present(closed.invoice, "invoice")?) }))
}
