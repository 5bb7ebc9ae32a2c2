//! Pools: look, order, change, remove, check (DBS-01 to DBS-06, DBS-12, DBS-13).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::database::v1 as pb;
use http::{HeaderMap, StatusCode};
use runtime::grpc::Refusal;
use serde_json::json;

use crate::context::Ctx;
use crate::dto::Reason;
use crate::dto::checks::Checks;
use crate::dto::database::{Pool, PoolDetail, PoolList};
use crate::dto::database_admin::{
    ChangePool, DatabaseStats, PoolChecked, PoolInMaking, PoolOrdered, PoolRemoval, PoolTenant, PoolTenants,
    ProvisionPool,
};
use crate::dto::paging::{PageParams, listed};
use crate::extract::{Body, OptionalBody, Query, idempotency_key};
use crate::problem::Problem;
use crate::routes::{answer, present};
use crate::state::App;

/// All pools.
#[utoipa::path(get, path = "/database/api/database/admin/pools",
    params(PageParams, ("status" = Option<String>, Query), ("server_type" = Option<String>, Query, description = "platform, shared, dedicated")),
    responses((status = 200, body = PoolList)))]
pub async fn list_pools(State(app): State<App>, context: Ctx, query: Query) -> Result<Response, Problem> {
    let page = query.page()?;
    let request = context.request(pb::ListPoolsRequest {
        status: query.filter("status")?,
        server_type: query.filter("server_type")?,
        page: page.number,
        page_size: page.size,
    });
    let found = app.clients.databases.clone().list_pools(request).await?.into_inner();
    let body = PoolList {
        pools: found.pools.iter().map(Pool::from).collect(),
        total_count: found.total,
        total: found.total,
        page: page.number,
        page_size: page.size,
    };
    Ok(listed(&query, page, found.total, body))
}

/// One pool, by id or name, with its allocations.
#[utoipa::path(get, path = "/database/api/database/admin/pools/{pool}", responses((status = 200, body = PoolDetail)))]
pub async fn get_pool(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
) -> Result<Json<PoolDetail>, Problem> {
    let request = context.request(pb::GetPoolRequest { pool: named(pool)? });
    let found = app.clients.databases.clone().get_pool(request).await?.into_inner();
    Ok(Json(PoolDetail::new(present(found.pool, "pool")?, found.allocations)))
}

/// Order a shared pool. With `Idempotency-Key` a repetition gives the first answer.
#[utoipa::path(post, path = "/database/api/database/admin/provision-pool", request_body = Option<ProvisionPool>,
    params(("Idempotency-Key" = Option<String>, Header, description = "at most 200 characters")),
    responses(
        (status = 202, body = PoolOrdered),
        (status = 409, description = "pool_in_progress (the problem has the pool), idempotency_mismatch"),
        (status = 422, description = "validation_failed"),
    ))]
pub async fn provision_pool(
    State(app): State<App>,
    context: Ctx,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<ProvisionPool>,
) -> Result<Response, Problem> {
    let request = context.request(body.checked(idempotency_key(&headers)?)?);
    let ordered = match app.clients.databases.clone().provision_pool(request).await {
        Ok(ordered) => ordered.into_inner(),
        Err(status) => {
            let facts = Refusal::from_status(&status).metadata;
            let problem = Problem::from(status);
            return Err(match facts.get("pool_id") {
                Some(id) => {
                    let fact = |key: &str| facts.get(key).cloned().unwrap_or_default();
                    let pool = json!({"id": id, "name": fact("pool_name"), "status": fact("pool_status")});
                    problem.with("pool", pool)
                }
                None => problem,
            });
        }
    };
    let pool = present(ordered.pool, "pool")?;
    let location = format!("/database/api/database/admin/tasks/{}", ordered.task_id);
    let body = PoolOrdered {
        task_id: ordered.task_id,
        message: "the pool is being made",
        max_instances: pool.max_instances,
        server_type: pool.server_type.clone(),
        pool: PoolInMaking::from(pool),
    };
    Ok(answer(StatusCode::ACCEPTED, body, Some(&location), None))
}

/// Change a pool: into and out of maintenance, its slots, its priority.
#[utoipa::path(patch, path = "/database/api/database/admin/pools/{pool}", request_body = ChangePool, responses(
    (status = 200, body = PoolDetail), (status = 409, description = "below_current_use, invalid_state"),
))]
pub async fn change_pool(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
    Body(body): Body<ChangePool>,
) -> Result<Json<PoolDetail>, Problem> {
    let request = context.request(body.checked(named(pool)?)?);
    let changed = app.clients.databases.clone().update_pool(request).await?.into_inner();
    Ok(Json(PoolDetail::new(present(changed.pool, "pool")?, changed.allocations)))
}

/// Remove a pool that holds nothing; `reason` in the body or in the query.
#[utoipa::path(delete, path = "/database/api/database/admin/pools/{pool}", request_body = Option<Reason>,
    params(("reason" = Option<String>, Query, description = "instead of the body")),
    responses((status = 202, body = PoolRemoval), (status = 409, description = "pool_not_empty, invalid_state")))]
pub async fn delete_pool(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
    query: Query,
    OptionalBody(body): OptionalBody<Removal>,
) -> Result<Response, Problem> {
    let reason = body.reason.or_else(|| query.text("reason")).unwrap_or_default();
    let reason = Reason { reason }.checked()?;
    let request = context.request(pb::DeletePoolRequest { pool: named(pool)?, reason });
    let removed = app.clients.databases.clone().delete_pool(request).await?.into_inner();
    let pool = PoolInMaking::from(present(removed.pool, "pool")?);
    Ok(answer(StatusCode::ACCEPTED, PoolRemoval { message: "the pool is being removed", pool }, None, None))
}

/// Body of a removal, when there is one.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    reason: Option<String>,
}

/// Check a pool now: connect, query, write, free space, connections.
#[utoipa::path(post, path = "/database/api/database/admin/pools/{pool}/health-check", responses(
    (status = 200, body = PoolChecked), (status = 409, description = "invalid_state: it is being removed"),
))]
pub async fn check_pool(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
) -> Result<Json<PoolChecked>, Problem> {
    let request = context.request(pb::CheckPoolRequest { pool: named(pool)? });
    let mut found = app.clients.databases.clone().check_pool(request).await?.into_inner();
    let pool = present(found.pool.take(), "pool")?;
    Ok(Json(PoolChecked::new(pool, found)))
}

/// What each tenant of a pool uses now: size, connections, slow statements.
#[utoipa::path(get, path = "/database/api/database/admin/pools/{pool}/tenants", responses((status = 200, body = PoolTenants)))]
pub async fn list_pool_tenants(
    State(app): State<App>,
    context: Ctx,
    Path(pool): Path<String>,
) -> Result<Json<PoolTenants>, Problem> {
    let request = context.request(pb::ListPoolTenantsRequest { pool: named(pool)? });
    let found = app.clients.databases.clone().list_pool_tenants(request).await?.into_inner();
    Ok(Json(PoolTenants {
        pool: Pool::from(&present(found.pool, "pool")?),
        tenants: found.tenants.into_iter().map(PoolTenant::from).collect(),
    }))
}

/// Sums over all pools, and how long the free slots last.
#[utoipa::path(get, path = "/database/api/database/admin/stats", responses((status = 200, body = DatabaseStats)))]
pub async fn get_database_stats(
    State(app): State<App>,
    context: Ctx,
) -> Result<Json<DatabaseStats>, Problem> {
    let request = context.request(pb::GetDatabaseStatsRequest {});
    let found = app.clients.databases.clone().get_database_stats(request).await?.into_inner();
    Ok(Json(DatabaseStats::from(found)))
}

/// An id or a name; what can be neither is refused before it travels.
fn named(pool: String) -> Result<String, Problem> {
    Checks::default().text("pool", &pool, 1..=63).done()?;
    Ok(pool)
}
