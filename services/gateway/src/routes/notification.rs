//! `/notification`: mail history and templates for operators (part 5 of the API). Sending is never an HTTP route.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use contracts::notification::v1 as pb;
use http::StatusCode;
use utoipa_axum::routes;

use crate::access::Access::{Admin, OperatorPlus};
use crate::api::Api;
use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::customer::Success;
use crate::dto::notification::{
    Connection, DetailedHealth, Email, EmailDetail, EmailList, Preview, Previewed, Queued, SendTest, Smtp,
    Template, TemplateList, TemplateVariables,
};
use crate::dto::paging::{PageParams, listed};
use crate::dto::scalars::time;
use crate::dto::{Reason, wire};
use crate::extract::{Body, Id, OptionalBody, Query};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// Adds the routes.
pub fn add(api: Api) -> Api {
    api.add(OperatorPlus, routes!(get_detailed_health))
        .add(OperatorPlus, routes!(list_emails))
        .add(OperatorPlus, routes!(get_email))
        .add(Admin, routes!(resend_email))
        .add(Admin, routes!(test_connection))
        .add(Admin, routes!(send_test_email))
        .add(OperatorPlus, routes!(list_templates))
        .add(OperatorPlus, routes!(get_template))
        .add(OperatorPlus, routes!(get_template_variables))
        .add(OperatorPlus, routes!(preview_template))
}

/// Does mail go out?
#[utoipa::path(get, path = "/notification/health/detailed", responses((status = 200, body = DetailedHealth)))]
pub async fn get_detailed_health(
    State(app): State<App>,
    context: Ctx,
) -> Result<Json<DetailedHealth>, Problem> {
    let request = context.request(pb::GetDetailedHealthRequest {});
    let found = app.clients.notifications.clone().get_detailed_health(request).await?.into_inner();
    Ok(Json(DetailedHealth {
        status: if found.smtp_connected { "healthy" } else { "degraded" },
        smtp: Smtp { connected: found.smtp_connected },
        queue_depth: found.queue_depth,
        last_sent_at: time(found.last_sent_at.as_ref()),
    }))
}

/// Mails that were written, the newest first.
#[utoipa::path(get, path = "/notification/api/v1/emails/history",
    params(PageParams, ("status" = Option<String>, Query, description = "queued, sending, sent, failed"), ("template_name" = Option<String>, Query),
        ("customer_id" = Option<String>, Query), ("from_date" = Option<String>, Query, description = "RFC 3339"), ("to_date" = Option<String>, Query, description = "RFC 3339")),
    responses((status = 200, body = EmailList)))]
pub async fn list_emails(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListEmailsRequest {
        status: query.filter("status")?,
        template_name: query.filter("template_name")?,
        customer_id: query.filter("customer_id")?,
        from_date: query.time("from_date")?,
        to_date: query.time("to_date")?,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.notifications.clone().list_emails(request).await?.into_inner();
    let body = EmailList {
        emails: found.emails.into_iter().map(Email::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// One mail with its redacted variables and events.
#[utoipa::path(get, path = "/notification/api/v1/emails/{id}", responses((status = 200, body = EmailDetail)))]
pub async fn get_email(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<EmailDetail>, Problem> {
    let request = context.request(pb::GetEmailRequest { email_id: wire(id) });
    let mut found = app.clients.notifications.clone().get_email(request).await?.into_inner();
    let email = present(found.email.take(), "email")?;
    Ok(Json(EmailDetail::new(email, found)))
}

/// Send a mail again.
#[utoipa::path(post, path = "/notification/api/v1/emails/{id}/resend", request_body = Reason, responses(
    (status = 202, body = Success), (status = 409, description = "not_resendable"),
))]
pub async fn resend_email(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Response, Problem> {
    let request = context.request(pb::ResendEmailRequest { email_id: wire(id), reason: body.checked()? });
    app.clients.notifications.clone().resend_email(request).await?;
    Ok(answer(StatusCode::ACCEPTED, Success { success: true }, None, None))
}

/// Does the mail server answer?
#[utoipa::path(get, path = "/notification/api/v1/emails/test/connection", responses((status = 200, body = Connection), (status = 503, description = "unavailable")))]
pub async fn test_connection(State(app): State<App>, context: Ctx) -> Result<Response, Problem> {
    let request = context.request(pb::TestConnectionRequest {});
    let tested = app.clients.notifications.clone().test_connection(request).await?.into_inner();
    if !tested.ok {
        return Err(Problem::unavailable("the mail server does not answer"));
    }
    Ok(Json(Connection { ok: true, latency_ms: tested.latency_ms }).into_response())
}

/// Send a template's sample to the caller's own address.
#[utoipa::path(post, path = "/notification/api/v1/emails/test/send", request_body = SendTest, responses((status = 202, body = Queued)))]
pub async fn send_test_email(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<SendTest>,
) -> Result<Response, Problem> {
    Checks::default().text("template_name", &body.template_name, 1..=100).done()?;
    let request = context.request(pb::SendTestEmailRequest { template_name: body.template_name });
    let queued = app.clients.notifications.clone().send_test_email(request).await?.into_inner();
    let location = format!("/notification/api/v1/emails/{}", queued.email_id);
    let body = Queued { success: true, email_id: queued.email_id };
    Ok(answer(StatusCode::ACCEPTED, body, Some(&location), None))
}

/// All templates.
#[utoipa::path(get, path = "/notification/api/v1/templates", responses((status = 200, body = TemplateList)))]
pub async fn list_templates(State(app): State<App>, context: Ctx) -> Result<Json<TemplateList>, Problem> {
    let request = context.request(pb::ListTemplatesRequest {});
    let found = app.clients.notifications.clone().list_templates(request).await?.into_inner();
    Ok(Json(TemplateList { templates: found.templates.into_iter().map(Template::from).collect() }))
}

async fn template(app: &App, context: &Ctx, name: String) -> Result<pb::Template, Problem> {
    Checks::default().text("name", &name, 1..=100).done()?;
    let request = context.request(pb::GetTemplateRequest { name });
    let found = app.clients.notifications.clone().get_template(request).await?.into_inner();
    present(found.template, "template")
}

/// One template.
#[utoipa::path(get, path = "/notification/api/v1/templates/{name}", responses((status = 200, body = Template)))]
pub async fn get_template(
    State(app): State<App>,
    context: Ctx,
    Path(name): Path<String>,
) -> Result<Json<Template>, Problem> {
    Ok(Json(Template::from(template(&app, &context, name).await?)))
}

/// What a template takes.
#[utoipa::path(get, path = "/notification/api/v1/templates/{name}/variables", responses((status = 200, body = TemplateVariables)))]
pub async fn get_template_variables(
    State(app): State<App>,
    context: Ctx,
    Path(name): Path<String>,
) -> Result<Json<TemplateVariables>, Problem> {
    let found = template(&app, &context, name).await?;
    Ok(Json(TemplateVariables { name: found.name, variables: found.variables }))
}

/// A template with given or sample values.
#[utoipa::path(post, path = "/notification/api/v1/templates/{name}/preview", request_body = Option<Preview>, responses((status = 200, body = Previewed)))]
pub async fn preview_template(
    State(app): State<App>,
    context: Ctx,
    Path(name): Path<String>,
    OptionalBody(body): OptionalBody<Preview>,
) -> Result<Json<Previewed>, Problem> {
    let variables_json = serde_json::Value::Object(body.variables).to_string();
    let request = context.request(pb::PreviewTemplateRequest { name, variables_json });
    let found = app.clients.notifications.clone().preview_template(request).await?.into_inner();
    Ok(Json(Previewed { subject: found.subject, html: found.html, text: found.text }))
}
