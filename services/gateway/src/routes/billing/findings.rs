//! What the audit of the books found, for admins (BIL-37).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contracts::billing::v1 as pb;
use http::StatusCode;

use crate::context::Ctx;
use crate::dto::findings::{AuditRun, AuditRunList, Finding, FindingList, OneFinding};
use crate::dto::money::TaskStarted;
use crate::dto::paging::{PageParams, listed};
use crate::dto::{Reason, wire};
use crate::extract::{Body, Id, Query};
use crate::problem::Problem;
use crate::routes::present;
use crate::state::App;

/// Findings: each from the run that found it first to the one that did not find it any more.
#[utoipa::path(get, path = "/billing/api/billing/admin/findings",
    params(PageParams, ("state" = Option<String>, Query, description = "open, resolved"), ("kind" = Option<String>, Query, description = "such as balance_differs"),
        ("customer_id" = Option<String>, Query)),
    responses((status = 200, body = FindingList)))]
pub async fn list_findings(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListFindingsRequest {
        state: query.text("state"),
        kind: query.text("kind"),
        customer_id: query.text("customer_id"),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing_audits.clone().list_findings(request).await?.into_inner();
    let body = FindingList {
        success: true,
        findings: found.findings.into_iter().map(Finding::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// One finding.
#[utoipa::path(get, path = "/billing/api/billing/admin/findings/{id}", responses((status = 200, body = OneFinding)))]
pub async fn get_finding(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
) -> Result<Json<OneFinding>, Problem> {
    let request = context.request(pb::FindingRequest { finding_id: wire(id) });
    let found = app.clients.billing_audits.clone().get_finding(request).await?.into_inner();
    Ok(Json(OneFinding { success: true, finding: Finding::from(present(found.finding, "finding")?) }))
}

/// Say that a finding is known, and why it is there. It stays open until the audit does not find it any more.
#[utoipa::path(post, path = "/billing/api/billing/admin/findings/{id}/acknowledge", request_body = Reason,
    responses((status = 200, body = OneFinding), (status = 409, description = "invalid_state")))]
pub async fn acknowledge_finding(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Reason>,
) -> Result<Json<OneFinding>, Problem> {
    let request =
        context.request(pb::AcknowledgeFindingRequest { finding_id: wire(id), reason: body.checked()? });
    let known = app.clients.billing_audits.clone().acknowledge_finding(request).await?.into_inner();
    Ok(Json(OneFinding { success: true, finding: Finding::from(present(known.finding, "finding")?) }))
}

/// Runs of the audit, newest first.
#[utoipa::path(get, path = "/billing/api/billing/admin/audits",
    params(PageParams, ("task_id" = Option<String>, Query, description = "the run that was ordered by this task")),
    responses((status = 200, body = AuditRunList)))]
pub async fn list_audits(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListAuditsRequest {
        task_id: query.text("task_id"),
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.billing_audits.clone().list_audits(request).await?.into_inner();
    let body = AuditRunList {
        success: true,
        audits: found.audits.into_iter().map(AuditRun::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// Run the audit now. Its run has the task's id.
#[utoipa::path(post, path = "/billing/api/billing/admin/audits", request_body = Reason, responses((status = 202, body = TaskStarted)))]
pub async fn run_audit(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Reason>,
) -> Result<Response, Problem> {
    let request = context.request(pb::RunAuditRequest { reason: body.checked()? });
    let started = app.clients.billing_audits.clone().run_audit(request).await?.into_inner();
    Ok((StatusCode::ACCEPTED, Json(TaskStarted { task_id: started.task_id })).into_response())
}
