//! The watch and reconcile loop: its state, its switch, one comparison by hand (MON-01…05).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::instance::v1 as pb;
use http::StatusCode;

use crate::context::Ctx;
use crate::dto::operation::{Difference, Differences, Monitoring, MonitoringChange, Reconcile, Task};
use crate::dto::scalars::text;
use crate::dto::{Nothing, Reason, wire};
use crate::extract::{Body, OptionalBody};
use crate::problem::Problem;
use crate::routes::answer;
use crate::state::App;

/// Does the platform follow the cluster?
#[utoipa::path(get, path = "/instance/api/v1/monitoring/status", responses((status = 200, body = Monitoring)))]
pub async fn get_monitoring(State(app): State<App>, context: Ctx) -> Result<Json<Monitoring>, Problem> {
    let request = context.request(pb::GetMonitoringRequest {});
    let found = app.clients.instance_admin.clone().get_monitoring(request).await?.into_inner();
    Ok(Json(Monitoring::from(found)))
}

async fn switch(
    app: &App,
    context: &Ctx,
    command: &str,
    reason: String,
) -> Result<Json<MonitoringChange>, Problem> {
    let request = context.request(pb::SetMonitoringRequest { command: command.to_owned(), reason });
    let set = app.clients.instance_admin.clone().set_monitoring(request).await?.into_inner();
    Ok(Json(MonitoringChange { status: set.status, changed: set.changed, message: set.message }))
}

/// Switch the loop on.
#[utoipa::path(post, path = "/instance/api/v1/monitoring/start", request_body = Option<Nothing>, responses((status = 200, body = MonitoringChange)))]
pub async fn start_monitoring(
    State(app): State<App>,
    context: Ctx,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<MonitoringChange>, Problem> {
    switch(&app, &context, "start", String::new()).await
}

/// Pause repair of drift and following of status; operations go on.
#[utoipa::path(post, path = "/instance/api/v1/monitoring/stop", request_body = Reason, responses((status = 200, body = MonitoringChange)))]
pub async fn stop_monitoring(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Reason>,
) -> Result<Json<MonitoringChange>, Problem> {
    switch(&app, &context, "stop", body.checked()?).await
}

/// Begin the watches anew.
#[utoipa::path(post, path = "/instance/api/v1/monitoring/restart", request_body = Option<Nothing>, responses((status = 200, body = MonitoringChange)))]
pub async fn restart_monitoring(
    State(app): State<App>,
    context: Ctx,
    OptionalBody(Nothing {}): OptionalBody<Nothing>,
) -> Result<Json<MonitoringChange>, Problem> {
    switch(&app, &context, "restart", String::new()).await
}

/// Compare all rows with the cluster; with `dry_run` only list the differences.
#[utoipa::path(post, path = "/instance/api/v1/monitoring/reconcile", request_body = Option<Reconcile>, responses(
    (status = 200, description = "what differs", body = Differences), (status = 202, body = Task),
))]
pub async fn reconcile(
    State(app): State<App>,
    context: Ctx,
    OptionalBody(body): OptionalBody<Reconcile>,
) -> Result<Response, Problem> {
    let dry_run = body.dry_run;
    let request = context.request(pb::ReconcileRequest { dry_run, instance_id: body.instance_id.map(wire) });
    let found = app.clients.instance_admin.clone().reconcile(request).await?.into_inner();
    if !dry_run {
        return Ok(answer(StatusCode::ACCEPTED, Task { task_id: found.task_id }, None, None));
    }
    let differences = found.differences.into_iter().map(|difference| Difference {
        instance_id: text(difference.instance_id),
        object: difference.object,
        kind: difference.kind,
        detail: difference.detail,
    });
    Ok(answer(StatusCode::OK, Differences { differences: differences.collect() }, None, None))
}
