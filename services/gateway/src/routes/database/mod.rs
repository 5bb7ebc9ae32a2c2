//! `/database`: pools and allocations (part 3 of the API).

mod allocations;
mod moves;
mod pools;
mod rotations;
mod tasks;

use utoipa_axum::routes;

use crate::access::Access::AdminOrService;
use crate::api::Api;

/// Adds the routes.
pub fn add(api: Api) -> Api {
    api.add(AdminOrService, routes!(pools::list_pools))
        .add(AdminOrService, routes!(pools::get_pool))
        .add(AdminOrService, routes!(pools::provision_pool))
        .add(AdminOrService, routes!(pools::change_pool))
        .add(AdminOrService, routes!(pools::delete_pool))
        .add(AdminOrService, routes!(pools::check_pool))
        .add(AdminOrService, routes!(pools::list_pool_tenants))
        .add(AdminOrService, routes!(pools::get_database_stats))
        .add(AdminOrService, routes!(tasks::start_health_check))
        .add(AdminOrService, routes!(tasks::start_cleanup))
        .add(AdminOrService, routes!(tasks::list_database_tasks))
        .add(AdminOrService, routes!(tasks::get_database_task))
        .add(AdminOrService, routes!(allocations::allocate))
        .add(AdminOrService, routes!(allocations::provision_dedicated))
        .add(AdminOrService, routes!(allocations::get_allocation))
        .add(AdminOrService, routes!(allocations::release))
        .add(AdminOrService, routes!(moves::move_database))
        .add(AdminOrService, routes!(moves::drain_pool))
        .add(AdminOrService, routes!(rotations::rotate_password))
        .add(AdminOrService, routes!(rotations::rotate_pool))
        .add(AdminOrService, routes!(moves::get_drain))
        .add(AdminOrService, routes!(moves::stop_drain))
}
