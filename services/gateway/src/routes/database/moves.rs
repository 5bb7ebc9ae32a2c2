//! Moving tenants' databases (DBS-33): one to another pool, or some of a pool that shall be emptied.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::database::v1 as pb;
use contracts::instance::v1 as instances;
use http::StatusCode;

use crate::app::App;
use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::moves::{Drain, DrainStarted, Move, MoveStarted, NotMoved};
use crate::dto::wire;
use crate::extract::{Body, Id};
use crate::problem::Problem;
use crate::routes::answer;

/// Move the database of an instance to another server. The answer says how long the instance will be off.
#[utoipa::path(post, path = "/database/api/database/admin/allocations/{instance_id}/move", request_body = Move,
    params(("instance_id" = uuid::Uuid, Path)), responses(
    (status = 202, body = MoveStarted), (status = 409, description = "pool_full, operation_in_progress, invalid_state"),
))]
pub async fn move_database(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Move>,
) -> Result<Response, Problem> {
    Checks::default()
        .optional("target_pool_id", body.target_pool_id.as_deref(), 1..=63)
        .text("reason", &body.reason, 5..=500)
        .done()?;
    let target_pool = body.target_pool_id.unwrap_or_default();
    let request = pb::PreviewMoveRequest { instance_id: wire(id), target_pool: target_pool.clone() };
    let preview = app.clients.databases.clone().preview_move(context.request(request)).await?.into_inner();
    let request = instances::MoveDatabaseRequest {
        instance_id: wire(id),
        target_pool,
        dedicated: body.dedicated.unwrap_or(false),
        reason: body.reason,
    };
    let begun =
        app.clients.instance_admin.clone().move_database(context.request(request)).await?.into_inner();
    let location = format!("/instance/instances/{id}/operations/{}", begun.operation_id);
    let body = MoveStarted {
        operation_id: begun.operation_id,
        source_pool: preview.source_pool,
        target_pool: Some(preview.target_pool).filter(|name| !name.is_empty()),
        size_bytes: preview.size_bytes,
        estimated_downtime_seconds: preview.estimated_downtime_seconds,
    };
    Ok(answer(StatusCode::ACCEPTED, body, Some(&location), None))
}

/// Move some tenants of a pool elsewhere. Ask again until none remain. A pool in maintenance gets no new ones meanwhile.
#[utoipa::path(post, path = "/database/api/database/admin/pools/{pool}/drain", request_body = Drain,
    params(("pool" = String, Path)), responses((status = 202, body = DrainStarted)))]
pub async fn drain_pool(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
    Body(body): Body<Drain>,
) -> Result<(StatusCode, Json<DrainStarted>), Problem> {
    let limit = body.limit.unwrap_or(5);
    Checks::default()
        .text("pool", &pool, 1..=63)
        .text("reason", &body.reason, 5..=500)
        .that((1..=20).contains(&limit), "limit", "must be 1 to 20")
        .done()?;
    let request = context.request(pb::GetPoolRequest { pool });
    let found = app.clients.databases.clone().get_pool(request).await?.into_inner();
    let held: Vec<_> = found.allocations.into_iter().filter(|held| held.state == "allocated").collect();
    let mut started =
        DrainStarted { operation_ids: Vec::new(), not_moved: Vec::new(), remaining: held.len() };
    for allocation in held {
        if started.operation_ids.len() >= limit as usize {
            break;
        }
        let request = instances::MoveDatabaseRequest {
            instance_id: allocation.instance_id.clone(),
            target_pool: String::new(),
            dedicated: false,
            reason: body.reason.clone(),
        };
        match app.clients.instance_admin.clone().move_database(context.request(request)).await {
            Ok(begun) => started.operation_ids.push(begun.into_inner().operation_id),
            Err(status) => {
                let refusal = runtime::grpc::Refusal::from_status(&status);
                started
                    .not_moved
                    .push(NotMoved { instance_id: allocation.instance_id, reason: refusal.reason });
            }
        }
    }
    Ok((StatusCode::ACCEPTED, Json(started)))
}
