//! Tasks of database-service: begin one, look at it, look at the history (DBS-21).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::database::v1 as pb;
use http::StatusCode;

use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::database_admin::{CleanupPlan, DatabaseTask, DatabaseTaskList, StartCleanup, StartTask};
use crate::dto::operation::Task;
use crate::dto::paging::{PageParams, listed};
use crate::extract::{OptionalBody, Query};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// Check all pools.
#[utoipa::path(post, path = "/database/api/database/admin/tasks/health-check", request_body = Option<StartTask>, responses((status = 202, body = Task)))]
pub async fn start_health_check(
    State(app): State<App>,
    context: Ctx,
    OptionalBody(body): OptionalBody<StartTask>,
) -> Result<Response, Problem> {
    let (task_id, _) = start(&app, &context, "health_check", false, body.reason).await?;
    Ok(accepted(task_id))
}

/// Remove pools that failed and hold nothing; with `dry_run` only list them.
#[utoipa::path(post, path = "/database/api/database/admin/tasks/cleanup", request_body = Option<StartCleanup>,
    params(("dry_run" = Option<bool>, Query, description = "instead of the body")),
    responses((status = 200, description = "what would go", body = CleanupPlan), (status = 202, body = Task)))]
pub async fn start_cleanup(
    State(app): State<App>,
    context: Ctx,
    query: Query,
    OptionalBody(body): OptionalBody<StartCleanup>,
) -> Result<Response, Problem> {
    let dry_run = body.dry_run || query.flag("dry_run")?;
    let (task_id, candidates) = start(&app, &context, "cleanup", dry_run, body.reason).await?;
    if dry_run {
        return Ok(answer(StatusCode::OK, CleanupPlan::from(candidates), None, None));
    }
    Ok(accepted(task_id))
}

async fn start(
    app: &App,
    context: &Ctx,
    kind: &str,
    dry_run: bool,
    reason: Option<String>,
) -> Result<(String, Vec<pb::CleanupCandidate>), Problem> {
    Checks::default().optional("reason", reason.as_deref(), 0..=500).done()?;
    let reason = reason.unwrap_or_default();
    let request = context.request(pb::StartDatabaseTaskRequest { kind: kind.to_owned(), dry_run, reason });
    let started = app.clients.databases.clone().start_database_task(request).await?.into_inner();
    Ok((started.task_id, started.candidates))
}

fn accepted(task_id: String) -> Response {
    let location = format!("/database/api/database/admin/tasks/{task_id}");
    answer(StatusCode::ACCEPTED, Task { task_id: Some(task_id) }, Some(&location), None)
}

/// The history, youngest first.
#[utoipa::path(get, path = "/database/api/database/admin/tasks",
    params(PageParams, ("kind" = Option<String>, Query, description = "health_check, cleanup, provision_pool, provision_dedicated")),
    responses((status = 200, body = DatabaseTaskList)))]
pub async fn list_database_tasks(
    State(app): State<App>,
    context: Ctx,
    query: Query,
) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListDatabaseTasksRequest {
        kind: query.filter("kind")?,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.databases.clone().list_database_tasks(request).await?.into_inner();
    let body = DatabaseTaskList {
        tasks: found.tasks.into_iter().map(DatabaseTask::from).collect(),
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// One task.
#[utoipa::path(get, path = "/database/api/database/admin/tasks/{task_id}", responses((status = 200, body = DatabaseTask)))]
pub async fn get_database_task(
    State(app): State<App>,
    context: Ctx,
    Path(task_id): Path<String>,
) -> Result<Json<DatabaseTask>, Problem> {
    let request = context.request(pb::GetDatabaseTaskRequest { task_id });
    let found = app.clients.databases.clone().get_database_task(request).await?.into_inner();
    Ok(Json(DatabaseTask::from(present(found.task, "task")?)))
}
