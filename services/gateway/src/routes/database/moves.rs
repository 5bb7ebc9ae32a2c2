//! Moving tenants' databases (DBS-33): one to another pool, or all of a pool that shall be emptied.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::database::v1 as pb;
use contracts::instance::v1 as instances;
use http::StatusCode;

use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::moves::{Drain, Draining, Move, MoveEstimate, MoveStarted};
use crate::dto::{Reason, wire};
use crate::extract::{Body, Id};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// Move the database of an instance to another server. The answer says how long the instance will be off; with `dry_run` nothing else happens.
#[utoipa::path(post, path = "/database/api/database/admin/allocations/{instance_id}/move", request_body = Move,
    params(("instance_id" = uuid::Uuid, Path)), responses(
    (status = 202, body = MoveStarted), (status = 200, description = "what it would take, with dry_run", body = MoveEstimate),
    (status = 409, description = "pool_full, operation_in_progress, invalid_state"),
))]
pub async fn move_database(
    State(app): State<App>,
    context: Ctx,
    Id(id): Id,
    Body(body): Body<Move>,
) -> Result<Response, Problem> {
    let dry_run = body.dry_run.unwrap_or(false);
    Checks::default()
        .optional("target_pool_id", body.target_pool_id.as_deref(), 1..=63)
        .text("reason", &body.reason, 5..=500)
        .done()?;
    let target_pool = body.target_pool_id.unwrap_or_default();
    let request = pb::PreviewMoveRequest { instance_id: wire(id), target_pool: target_pool.clone() };
    let preview = app.clients.databases.clone().preview_move(context.request(request)).await?.into_inner();
    let estimate = MoveEstimate {
        source_pool: preview.source_pool,
        target_pool: Some(preview.target_pool).filter(|name| !name.is_empty()),
        size_bytes: preview.size_bytes,
        estimated_downtime_seconds: preview.estimated_downtime_seconds,
        estimated_from_moves: preview.estimated_from_moves,
    };
    if dry_run {
        return Ok(answer(StatusCode::OK, estimate, None, None));
    }
    let request = instances::MoveDatabaseRequest {
        instance_id: wire(id),
        target_pool,
        dedicated: body.dedicated.unwrap_or(false),
        reason: body.reason,
    };
    let begun =
        app.clients.instance_admin.clone().move_database(context.request(request)).await?.into_inner();
    let location = format!("/instance/instances/{id}/operations/{}", begun.operation_id);
    let body = MoveStarted { operation_id: begun.operation_id, estimate };
    Ok(answer(StatusCode::ACCEPTED, body, Some(&location), None))
}

/// Empty a pool: it goes into maintenance, and all its tenants move elsewhere, some at a time; those of a dedicated server to another one of their
/// own. It goes on by itself until none is left. A repeat gives the drain that is open.
#[utoipa::path(post, path = "/database/api/database/admin/pools/{pool}/drain", request_body = Drain,
    params(("pool" = String, Path)), responses((status = 202, body = Draining), (status = 409, description = "invalid_state")))]
pub async fn drain_pool(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
    Body(body): Body<Drain>,
) -> Result<(StatusCode, Json<Draining>), Problem> {
    let parallel = body.parallel.unwrap_or(5);
    Checks::default()
        .text("pool", &pool, 1..=63)
        .text("reason", &body.reason, 5..=500)
        .that((1..=50).contains(&parallel), "parallel", "must be 1 to 50")
        .done()?;
    let found = look(&app, &context, pool).await?;
    if found.status != "maintenance" {
        let request = pb::UpdatePoolRequest {
            pool: found.id.clone(),
            status: Some("maintenance".to_owned()),
            reason: body.reason.clone(),
            ..pb::UpdatePoolRequest::default()
        };
        app.clients.databases.clone().update_pool(context.request(request)).await?;
    }
    let request = instances::DrainPoolRequest {
        pool_id: found.id,
        parallel,
        dedicated: found.server_type == "dedicated",
        reason: body.reason,
    };
    let begun = app.clients.instance_admin.clone().drain_pool(context.request(request)).await?.into_inner();
    Ok((StatusCode::ACCEPTED, Json(Draining::from(present(begun.drain, "drain")?))))
}

/// How far the draining of a pool is.
#[utoipa::path(get, path = "/database/api/database/admin/pools/{pool}/drain", params(("pool" = String, Path)),
    responses((status = 200, body = Draining)))]
pub async fn get_drain(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
) -> Result<Json<Draining>, Problem> {
    let pool_id = look(&app, &context, pool).await?.id;
    let request = context.request(instances::GetDrainRequest { pool_id });
    let found = app.clients.instance_admin.clone().get_drain(request).await?.into_inner();
    Ok(Json(Draining::from(present(found.drain, "drain")?)))
}

/// Begin no more moves. Those that began go on; the pool stays in maintenance.
#[utoipa::path(delete, path = "/database/api/database/admin/pools/{pool}/drain", request_body = Reason,
    params(("pool" = String, Path)), responses((status = 200, body = Draining)))]
pub async fn stop_drain(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
    Body(body): Body<Reason>,
) -> Result<Json<Draining>, Problem> {
    let reason = body.checked()?;
    let pool_id = look(&app, &context, pool).await?.id;
    let request = context.request(instances::StopDrainRequest { pool_id, reason });
    let found = app.clients.instance_admin.clone().stop_drain(request).await?.into_inner();
    Ok(Json(Draining::from(present(found.drain, "drain")?)))
}

async fn look(app: &App, context: &Ctx, pool: String) -> Result<pb::Pool, Problem> {
    Checks::default().text("pool", &pool, 1..=63).done()?;
    let request = context.request(pb::GetPoolRequest { pool });
    let found = app.clients.databases.clone().get_pool(request).await?.into_inner();
    present(found.pool, "pool")
}
