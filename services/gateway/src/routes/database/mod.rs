//! `/database`: pools and allocations (part 3 of the API).

mod allocations;
mod moves;
mod pools;
mod tasks;

use utoipa_axum::routes;

use crate::access::Access::Admin;
use crate::api::Api;

/// Adds the routes.
pub fn add(api: Api) -> Api {
    let admin = "/database/api/database/admin";
    api.add(Admin, routes!(pools::list_pools))
        .add(Admin, routes!(pools::get_pool))
        .add(Admin, routes!(pools::provision_pool))
        .add(Admin, routes!(pools::change_pool))
        .add(Admin, routes!(pools::delete_pool))
        .add(Admin, routes!(pools::check_pool))
        .add(Admin, routes!(pools::list_pool_tenants))
        .add(Admin, routes!(pools::get_database_stats))
        .add(Admin, routes!(tasks::start_health_check))
        .add(Admin, routes!(tasks::start_cleanup))
        .add(Admin, routes!(tasks::list_database_tasks))
        .add(Admin, routes!(tasks::get_database_task))
        .add(Admin, routes!(allocations::allocate))
        .add(Admin, routes!(allocations::provision_dedicated))
        .add(Admin, routes!(allocations::get_allocation))
        .add(Admin, routes!(allocations::release))
        .add(Admin, routes!(moves::move_database))
        .add(Admin, routes!(moves::drain_pool))
        .later(Admin, "post", &format!("{admin}/allocations/{{instance_id}}/rotate"), "Change a password.")
}
