//! Databases of instances: give, look, take back (DBS-07 to DBS-11).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::database::v1 as pb;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};

use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::database_admin::{
    Allocate, Allocation, AllocationPending, ProvisionDedicated, Release, Released,
};
use crate::dto::scalars::time;
use crate::extract::Body;
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// Give an instance a database. Repeating it gives the same one.
#[utoipa::path(post, path = "/database/api/database/allocate", request_body = Allocate, responses(
    (status = 200, body = Allocation),
    (status = 202, description = "no room yet: ask again", body = AllocationPending),
    (status = 409, description = "allocated_to_other_customer, invalid_state"),
    (status = 422, description = "validation_failed, plan_tier_unknown, plan_not_dedicated"),
))]
pub async fn allocate(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Allocate>,
) -> Result<Response, Problem> {
    let request = context.request(pb::AllocateRequest {
        instance_id: body.instance_id,
        customer_id: body.customer_id,
        plan_tier: body.plan_tier,
        require_dedicated: body.require_dedicated,
    });
    let found = app.clients.allocations.clone().allocate(request).await?.into_inner();
    match found.allocation {
        Some(allocation) => Ok(answer(StatusCode::OK, Allocation::from(allocation), None, None)),
        None => Ok(pending(AllocationPending {
            status: "provisioning",
            message: "a database server is being made",
            retry_after: found.retry_after_seconds,
            task_id: None,
            db_server_id: None,
            name: None,
        })),
    }
}

/// Give an instance a server of its own.
#[utoipa::path(post, path = "/database/api/database/provision-dedicated", request_body = ProvisionDedicated, responses(
    (status = 200, description = "it is ready", body = Allocation),
    (status = 202, body = AllocationPending),
    (status = 409, description = "allocated_to_other_customer, invalid_state"),
    (status = 422, description = "validation_failed, plan_tier_unknown, plan_not_dedicated"),
))]
pub async fn provision_dedicated(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<ProvisionDedicated>,
) -> Result<Response, Problem> {
    let request = context.request(pb::ProvisionDedicatedRequest {
        instance_id: body.instance_id,
        customer_id: body.customer_id,
        plan_tier: body.plan_tier,
    });
    let found = app.clients.databases.clone().provision_dedicated(request).await?.into_inner();
    if let Some(allocation) = found.allocation {
        return Ok(answer(StatusCode::OK, Allocation::from(allocation), None, None));
    }
    let pool = present(found.pool, "pool")?;
    Ok(pending(AllocationPending {
        status: "provisioning",
        message: "the instance's own server is being made",
        retry_after: found.retry_after_seconds,
        task_id: Some(found.task_id),
        db_server_id: Some(pool.id),
        name: Some(pool.name),
    }))
}

fn pending(body: AllocationPending) -> Response {
    let after = HeaderValue::from(body.retry_after);
    let mut response = answer(StatusCode::ACCEPTED, body, None, None);
    response.headers_mut().insert(RETRY_AFTER, after);
    response
}

/// Where an instance has its database; never the password.
#[utoipa::path(get, path = "/database/api/database/allocations/{instance_id}", responses((status = 200, body = Allocation)))]
pub async fn get_allocation(
    State(app): State<App>,
    context: Ctx,
    Path(instance_id): Path<String>,
) -> Result<Json<Allocation>, Problem> {
    Checks::default().text("instance_id", &instance_id, 1..=63).done()?;
    let request = context.request(pb::GetAllocationRequest { instance_id });
    let found = app.clients.databases.clone().get_allocation(request).await?.into_inner();
    Ok(Json(Allocation::from(present(found.allocation, "allocation")?)))
}

/// Take an instance's database back: kept for the retention, or dropped now.
#[utoipa::path(post, path = "/database/api/database/release", request_body = Release, responses((status = 202, body = Released)))]
pub async fn release(
    State(app): State<App>,
    context: Ctx,
    Body(body): Body<Release>,
) -> Result<Response, Problem> {
    let request = context.request(body.checked()?);
    let found = app.clients.allocations.clone().release(request).await?.into_inner();
    if found.status == "absent" {
        return Err(Problem::not_found("allocation"));
    }
    let body = Released { purge_after: time(found.purge_after.as_ref()), status: found.status };
    Ok(answer(StatusCode::ACCEPTED, body, None, None))
}
