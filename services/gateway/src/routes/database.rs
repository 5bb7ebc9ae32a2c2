//! `/database`: pools and allocations (part 3 of the API).

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use contracts::database::v1 as pb;
use utoipa_axum::routes;

use crate::access::Access::Admin;
use crate::api::Api;
use crate::app::App;
use crate::context::Ctx;
use crate::dto::checks::Checks;
use crate::dto::database::{Pool, PoolDetail, PoolList};
use crate::dto::paging::{PageParams, listed};
use crate::extract::Query;
use crate::problem::Problem;
use crate::routes::present;

/// Adds the routes.
pub fn add(api: Api) -> Api {
    let base = "/database/api/database";
    let admin = "/database/api/database/admin";
    api.add(Admin, routes!(list_pools))
        .add(Admin, routes!(get_pool))
        .later(Admin, "post", &format!("{admin}/provision-pool"), "Make a pool.")
        .later(Admin, "patch", &format!("{admin}/pools/{{pool}}"), "Change a pool.")
        .later(Admin, "delete", &format!("{admin}/pools/{{pool}}"), "Remove an empty pool.")
        .later(Admin, "post", &format!("{admin}/pools/{{pool}}/health-check"), "Check a pool now.")
        .later(Admin, "get", &format!("{admin}/stats"), "Sums over all pools.")
        .later(Admin, "post", &format!("{admin}/tasks/health-check"), "Check all pools.")
        .later(Admin, "post", &format!("{admin}/tasks/cleanup"), "Remove what is left over.")
        .later(Admin, "get", &format!("{admin}/tasks/{{task_id}}"), "One task.")
        .later(Admin, "post", &format!("{base}/allocate"), "Give an instance a database.")
        .later(Admin, "post", &format!("{base}/provision-dedicated"), "Give an instance a server.")
        .later(Admin, "get", &format!("{base}/allocations/{{instance_id}}"), "The database of an instance.")
        .later(Admin, "post", &format!("{base}/release"), "Take an instance's database back.")
        .later(Admin, "post", &format!("{admin}/allocations/{{instance_id}}/rotate"), "Change a password.")
        .later(Admin, "post", &format!("{admin}/allocations/{{instance_id}}/move"), "Move to another pool.")
}

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
    Checks::default().text("pool", &pool, 1..=63).done()?;
    let request = context.request(pb::GetPoolRequest { pool });
    let found = app.clients.databases.clone().get_pool(request).await?.into_inner();
    Ok(Json(PoolDetail::new(present(found.pool, "pool")?, found.allocations)))
}
