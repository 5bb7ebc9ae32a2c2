//! Payments through a gateway: begun, watched, told of by the gateway itself; refunds.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contracts::billing::v1 as pb;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::money::Payment;
use crate::dto::paying::{InitiatePaynow, Initiated, PayTest, PaymentStatus, PaynowResult, Refund, Refunded};
use crate::dto::wire;
use crate::extract::{Body, Id, Raw, idempotency_key, too_large};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// Largest result that is passed on; a real one has half a kilobyte.
const LARGEST: usize = 16 * 1024;

async fn begin(app: &App, context: &Ctx, wish: pb::InitiatePaymentRequest) -> Result<Response, Problem> {
    let begun = app.clients.payments.clone().initiate_payment(context.request(wish)).await?.into_inner();
    let payment = present(begun.payment, "payment")?;
    let location = format!("/billing/api/billing/payments/paynow/status/{}", payment.id);
    let body = Initiated::new(payment, begun.payment_type, begun.message);
    Ok(answer(StatusCode::CREATED, body, Some(&location), None))
}

/// Pay an invoice by mobile money or card through Paynow.
#[utoipa::path(post, path = "/billing/api/billing/payments/paynow/initiate", request_body = InitiatePaynow,
    responses((status = 201, body = Initiated), (status = 404, description = "not_found"), (status = 409, description = "invoice_not_open, payment_pending"),
        (status = 502, description = "gateway_refused")))]
pub async fn initiate(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<InitiatePaynow>,
) -> Result<Response, Problem> {
    let known = matches!(body.payment_method.as_str(), "ecocash" | "onemoney" | "card");
    let phone = body.phone.unwrap_or_default();
    let digits =
        phone.len() == 10 && phone.starts_with("07") && phone.bytes().all(|byte| byte.is_ascii_digit());
    let mobile = body.payment_method != "card";
    Checks::default()
        .that(known, "payment_method", "must be ecocash, onemoney or card")
        .that(!known || !mobile || digits, "phone", "must have 10 digits and start with 07")
        .that(mobile || phone.is_empty(), "phone", "is for mobile money")
        .done()?;
    let wish = pb::InitiatePaymentRequest {
        invoice_id: body.invoice_id,
        gateway: "paynow".into(),
        method: body.payment_method,
        phone,
        amount: None,
    };
    begin(&app, &context, wish).await
}

/// State of a payment through a gateway.
#[utoipa::path(get, path = "/billing/api/billing/payments/paynow/status/{payment_id}", responses((status = 200, body = PaymentStatus)))]
pub async fn status(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<PaymentStatus>, Problem> {
    let request = context.request(pb::GetPaymentRequest { payment_id: wire(id) });
    let found = app.clients.payments.clone().get_payment(request).await?.into_inner();
    Ok(Json(PaymentStatus::from(present(found.payment, "payment")?)))
}

/// Pay an invoice without money, by its amount: ending with 51 it is declined, with 52 cancelled, with 53 never answered, with 54 paid too little.
/// Not in production: 503.
#[utoipa::path(post, path = "/billing/api/billing/test/payments", request_body = PayTest,
    responses((status = 201, body = Initiated), (status = 404, description = "not_found"), (status = 409, description = "invoice_not_open, payment_pending"),
        (status = 502, description = "gateway_refused")))]
pub async fn pay_test(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<PayTest>,
) -> Result<Response, Problem> {
    let wish = pb::InitiatePaymentRequest {
        invoice_id: body.invoice_id,
        gateway: "test".into(),
        method: "card".into(),
        phone: String::new(),
        amount: body.amount.map(pb::Money::from),
    };
    begin(&app, &context, wish).await
}

/// Result of a payment, posted by Paynow. It is believed by its hash, and even then only asked about.
#[utoipa::path(post, path = "/billing/api/billing/webhooks/paynow",
    request_body(content = PaynowResult, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "it is kept", body = String, content_type = "text/plain", example = "ok"), (status = 400, description = "bad_hash")))]
pub async fn receive_paynow(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<&'static str, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must have the content type application/x-www-form-urlencoded",
        ));
    }
    if body.len() > LARGEST {
        return Err(too_large());
    }
    let request = context.request(pb::ReceiveWebhookRequest {
        provider: "paynow".into(),
        token: String::new(),
        body: body.to_vec(),
        content_type: essence.to_owned(),
    });
    app.clients.webhooks.clone().receive_webhook(request).await?;
    Ok("ok")
}

/// Give a payment back, whole or in part, with a credit note. Without `Idempotency-Key` each call is a refund of its own.
#[utoipa::path(post, path = "/billing/api/billing/admin/payments/{id}/refund", request_body = Refund,
    params(("Idempotency-Key" = Option<String>, Header, description = "a refund is made once for it")),
    responses((status = 201, body = Refunded), (status = 409, description = "not_refundable, idempotency_mismatch")))]
pub async fn refund_payment(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    Id(id): Id,
    Body(body): Body<Refund>,
) -> Result<Response, Problem> {
    Checks::default()
        .text("reason", &body.reason, 5..=500)
        .that(body.amount.amount_minor > 0, "amount", "must be positive")
        .done()?;
    let request = context.request(pb::RefundPaymentRequest {
        payment_id: wire(id),
        amount: Some(body.amount.into()),
        reason: body.reason,
        idempotency_key: idempotency_key(&headers)?,
    });
    let refunded = app.clients.billing_admin.clone().refund_payment(request).await?.into_inner();
    let payment = Payment::from(present(refunded.payment, "payment")?);
    let body = Refunded { success: true, refund_id: refunded.refund_id, state: refunded.state, payment };
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
