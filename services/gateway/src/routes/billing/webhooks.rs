//! Hooks of the billing engine, and the inbox that they wait in (BIL-30, BIL-31).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use contracts::billing::v1 as pb;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use crate::context::Ctx;
use crate::dto::paging::{PageParams, listed};
use crate::dto::webhooks::{KillbillHook, OneWebhook, Received, Webhook, WebhookList};
use crate::dto::{Reason, wire};
use crate::extract::{Body, Id, Query, Raw};
use crate::problem::Problem;
use crate::routes::present;
use crate::state::App;

/// Stores a hook as it came, and no more: what it is about is looked at later.
pub(super) async fn store(
    app: &App,
    context: &Ctx,
    provider: &str,
    token: String,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Result<Json<Received>, Problem> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content_type = content_type.chars().take(100).collect();
    let request =
        context.request(pb::ReceiveWebhookRequest { provider: provider.into(), token, body, content_type });
    app.clients.webhooks.clone().receive_webhook(request).await?;
    Ok(Json(Received { received: true }))
}

/// Hook of the billing engine. The last part of the path is its secret.
#[utoipa::path(post, path = "/billing/api/billing/webhooks/killbill/{token}", request_body = KillbillHook, responses((status = 200, body = Received)))]
pub async fn receive_killbill(
    State(app): State<App>,
    context: Ctx,
    Path(token): Path<String>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Json<Received>, Problem> {
    if token.len() > 200 {
        return Err(Problem::not_found("hook"));
    }
    store(&app, &context, "killbill", token, &headers, body.to_vec()).await
}

/// Hooks that came in.
#[utoipa::path(get, path = "/billing/api/billing/admin/webhooks",
    params(PageParams, ("provider" = Option<String>, Query, description = "killbill, paynow"), ("status" = Option<String>, Query, description = "new, done, ignored, failed")),
    responses((status = 200, body = WebhookList)))]
pub async fn admin_webhooks(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListWebhooksRequest {
        provider: query.text("provider"),
        state: query.text("status"),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing_admin.clone().list_webhooks(request).await?.into_inner();
    let body = WebhookList {
        success: true,
        webhooks: found.webhooks.into_iter().map(Webhook::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// Take a hook again.
#[utoipa::path(post, path = "/billing/api/billing/admin/webhooks/{id}/replay", request_body = Reason, responses((status = 202, body = OneWebhook)))]
pub async fn replay_webhook(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Response, Problem> {
    let request = context.request(pb::ReplayWebhookRequest { webhook_id: wire(id), reason: body.checked()? });
    let replayed = app.clients.billing_admin.clone().replay_webhook(request).await?.into_inner();
    let webhook = Webhook::from(present(replayed.webhook, "webhook")?);
    Ok((StatusCode::ACCEPTED, Json(OneWebhook { success: true, webhook })).into_response())
}
