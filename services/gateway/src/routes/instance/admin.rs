//! The operators' views of all instances (INS-38).

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use contracts::instance::v1 as pb;
use http::StatusCode;

use super::actions::answered;
use super::{crud, operations};
use crate::context::Ctx;
use crate::dto::action::ActionAnswer;
use crate::dto::checks::Checks;
use crate::dto::instance::{Instance, InstanceList};
use crate::dto::operation::{InstanceStats, OperationList, Orphans, Purge, Purged};
use crate::dto::paging::{PageParams, listed};
use crate::dto::{OptionalReason, wire};
use crate::extract::{Body, Id, OptionalBody, Query};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// Instances of all customers.
#[utoipa::path(get, path = "/instance/admin/all-instances",
    params(PageParams, ("status" = Option<Vec<String>>, Query, description = "may be repeated"), ("q" = Option<String>, Query),
        ("sort" = Option<String>, Query, description = "created_at, -created_at, name"), ("customer_id" = Option<String>, Query)),
    responses((status = 200, body = InstanceList)))]
pub async fn list_all_instances(
    State(app): State<App>,
    context: Ctx,
    query: Query,
) -> Result<Response, Problem> {
    let customer = match query.text("customer_id") {
        Some(wanted) => Some(context.customer(&wanted)?),
        None => None,
    };
    crud::list(&app, &context, &query, customer.map(wire), customer.is_none()).await
}

/// Instances whose last operation failed, with the error.
#[utoipa::path(get, path = "/instance/admin/failed-instances", params(PageParams), responses((status = 200, body = InstanceList)))]
pub async fn list_failed_instances(
    State(app): State<App>,
    context: Ctx,
    query: Query,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListFailedInstancesRequest { page: page.number, page_size: page.size });
    let found = app.clients.instance_admin.clone().list_failed_instances(request).await?.into_inner();
    let body = InstanceList {
        instances: found.instances.into_iter().map(|instance| Instance::shown(instance, true)).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// Try the last failed operation again.
#[utoipa::path(post, path = "/instance/admin/retry-instance/{id}", request_body = Option<OptionalReason>, responses(
    (status = 202, body = ActionAnswer), (status = 409, description = "nothing_to_retry"),
))]
pub async fn retry_instance(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    OptionalBody(body): OptionalBody<OptionalReason>,
) -> Result<Response, Problem> {
    let request =
        context.request(pb::RetryInstanceRequest { instance_id: wire(id), reason: body.checked()? });
    let retried = app.clients.instance_admin.clone().retry_instance(request).await?.into_inner();
    Ok(answered(present(retried.action, "action")?))
}

/// Operations of any instance.
#[utoipa::path(get, path = "/instance/admin/instance-jobs/{id}", params(PageParams), responses((status = 200, body = OperationList)))]
pub async fn list_instance_jobs(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    query: Query,
) -> Result<Response, Problem> {
    operations::list(&app, &context, wire(id), &query).await
}

/// How many instances there are, by status, plan and version.
#[utoipa::path(get, path = "/instance/admin/instance-stats", responses((status = 200, body = InstanceStats)))]
pub async fn get_instance_stats(
    State(app): State<App>,
    context: Ctx,
) -> Result<Json<InstanceStats>, Problem> {
    let request = context.request(pb::GetInstanceStatsRequest {});
    let stats = app.clients.instance_admin.clone().get_instance_stats(request).await?.into_inner();
    Ok(Json(InstanceStats {
        total: stats.total,
        by_status: stats.by_status.into_iter().collect(),
        by_plan: stats.by_plan.into_iter().collect(),
        by_version: stats.by_version.into_iter().collect(),
    }))
}

/// Objects in the cluster that no instance explains.
#[utoipa::path(get, path = "/instance/admin/orphans", responses((status = 200, body = Orphans)))]
pub async fn list_orphans(State(app): State<App>, context: Ctx) -> Result<Json<Orphans>, Problem> {
    let request = context.request(pb::ListOrphansRequest {});
    let found = app.clients.instance_admin.clone().list_orphans(request).await?.into_inner();
    Ok(Json(Orphans::from(found)))
}

/// Remove instances whose retention is over; without `dry_run: false` only list them.
///
/// No backup is made: the reason is the administrator's word that the data may go. By itself the platform removes
/// only what its owner agreed to (`final_backup: false` at the end, or a closed account).
#[utoipa::path(post, path = "/instance/admin/purge", request_body = Purge, responses(
    (status = 200, description = "what would be purged", body = Purged), (status = 202, body = Purged),
))]
pub async fn purge_expired(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Purge>,
) -> Result<Response, Problem> {
    Checks::default().text("reason", &body.reason, 5..=500).done()?;
    let dry_run = body.dry_run;
    let request = context.request(pb::PurgeExpiredRequest { dry_run, reason: body.reason });
    let purged = app.clients.instance_admin.clone().purge_expired(request).await?.into_inner();
    let status = if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED };
    let purged =
        Purged { dry_run, instance_ids: purged.instance_ids, awaiting_consent: purged.awaiting_consent };
    Ok(answer(status, purged, None, None))
}
