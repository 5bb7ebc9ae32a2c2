//! Changing passwords (DBS-32): a tenant's, and that of a pool's administrator.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::database::v1 as pb;
use contracts::instance::v1 as instances;
use http::StatusCode;
use tonic::Code;

use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::rotations::{Rotate, RotationStarted};
use crate::extract::Body;
use crate::problem::Problem;
use crate::routes::answer;
use crate::state::App;

/// Change the password of an instance's database. The instance is restarted when it runs; both passwords are valid until it has the new one.
#[utoipa::path(post, path = "/database/api/database/admin/allocations/{instance_id}/rotate", request_body = Rotate,
    params(("instance_id" = String, Path)), responses(
    (status = 202, body = RotationStarted), (status = 409, description = "operation_in_progress, rotation_in_progress, invalid_state"),
))]
pub async fn rotate_password(
    State(app): State<App>,
    context: Ctx,
    Path(instance_id): Path<String>,
    Body(body): Body<Rotate>,
) -> Result<Response, Problem> {
    Checks::default()
        .text("instance_id", &instance_id, 1..=63)
        .text("reason", &body.reason, 5..=500)
        .done()?;
    // The tenant's own id may be one that was allocated by hand: then nobody runs with the password.
    let mut operation = None;
    if uuid::Uuid::parse_str(&instance_id).is_ok() {
        let request = instances::RotatePasswordRequest {
            instance_id: instance_id.clone(),
            reason: body.reason.clone(),
        };
        match app.clients.instance_admin.clone().rotate_password(context.request(request)).await {
            Ok(begun) => operation = Some(begun.into_inner().operation_id),
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status.into()),
        }
    }
    let request = pb::RotateAllocationRequest {
        instance_id: instance_id.clone(),
        reason: body.reason,
        operation_id: operation.clone().unwrap_or_default(),
    };
    let task = app.clients.databases.clone().rotate_allocation(context.request(request)).await?.into_inner();
    let location = location(&task.task_id);
    let body = RotationStarted { task_id: task.task_id, operation_id: operation };
    Ok(answer(StatusCode::ACCEPTED, body, Some(&location), None))
}

/// Change the password of a pool's administrator. No pod is restarted.
#[utoipa::path(post, path = "/database/api/database/admin/pools/{pool}/rotate", request_body = Rotate,
    params(("pool" = String, Path)), responses(
    (status = 202, body = RotationStarted), (status = 409, description = "invalid_state"),
))]
pub async fn rotate_pool(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
    Body(body): Body<Rotate>,
) -> Result<(StatusCode, Json<RotationStarted>), Problem> {
    Checks::default().text("pool", &pool, 1..=63).text("reason", &body.reason, 5..=500).done()?;
    let request = context.request(pb::RotatePoolRequest { pool, reason: body.reason });
    let task = app.clients.databases.clone().rotate_pool(request).await?.into_inner();
    Ok((StatusCode::ACCEPTED, Json(RotationStarted { task_id: task.task_id, operation_id: None })))
}

fn location(task: &str) -> String {
    format!("/database/api/database/admin/tasks/{task}")
}
