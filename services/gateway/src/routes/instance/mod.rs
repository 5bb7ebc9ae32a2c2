//! `/instance`: instances, their actions and operations, the operators' views (part 2 of the API).

mod actions;
mod admin;
mod crud;
mod insight;
mod monitoring;
mod operations;

use utoipa_axum::routes;

use crate::access::Access::{
    Admin, AdminOrService, Customer, CustomerOrService, OperatorOrService, OperatorPlus,
};
use crate::api::Api;

/// Adds the routes.
pub fn add(api: Api) -> Api {
    let api = api
        .add(Customer, routes!(crud::create_instance))
        .add(Customer, routes!(crud::list_instances))
        .add(Customer, routes!(crud::get_instance))
        .add(Customer, routes!(crud::update_instance))
        .add(Customer, routes!(crud::delete_instance))
        .add(CustomerOrService, routes!(crud::get_instance_by_subscription))
        .add(Customer, routes!(crud::check_subdomain))
        .add(Customer, routes!(actions::start_instance))
        .add(Customer, routes!(actions::stop_instance))
        .add(Customer, routes!(actions::restart_instance))
        .add(AdminOrService, routes!(actions::suspend_instance))
        .add(AdminOrService, routes!(actions::unsuspend_instance))
        .add(AdminOrService, routes!(actions::unpause_instance))
        .add(CustomerOrService, routes!(actions::terminate_instance))
        .add(Admin, routes!(actions::undelete_instance))
        .add(AdminOrService, routes!(actions::apply_resources))
        .add(CustomerOrService, routes!(actions::act_on_instance))
        .add(Customer, routes!(insight::get_instance_status))
        .add(Customer, routes!(insight::get_instance_logs))
        .add(Customer, routes!(insight::list_events))
        .add(Customer, routes!(operations::list_operations))
        .add(Customer, routes!(operations::get_operation))
        .add(Customer, routes!(operations::cancel_operation))
        .add(Customer, routes!(operations::watch_operation))
        .add(Customer, routes!(operations::reveal_credentials))
        .add(OperatorPlus, routes!(admin::list_all_instances))
        .add(OperatorPlus, routes!(admin::list_failed_instances))
        .add(OperatorPlus, routes!(admin::retry_instance))
        .add(OperatorPlus, routes!(admin::list_instance_jobs))
        .add(OperatorPlus, routes!(admin::get_instance_stats))
        .add(Admin, routes!(admin::list_orphans))
        .add(Admin, routes!(admin::purge_expired))
        .add(OperatorOrService, routes!(monitoring::get_monitoring))
        .add(AdminOrService, routes!(monitoring::start_monitoring))
        .add(AdminOrService, routes!(monitoring::stop_monitoring))
        .add(AdminOrService, routes!(monitoring::restart_monitoring))
        .add(AdminOrService, routes!(monitoring::reconcile));
    later(api)
}

/// Routes whose work comes later.
fn later(api: Api) -> Api {
    let one = "/instance/instances/{id}";
    api.later(Customer, "post", &format!("{one}/upgrade"), "Use a newer Odoo image.")
        .later(Customer, "post", &format!("{one}/backup"), "Make a backup.")
        .later(Customer, "post", &format!("{one}/restore"), "Go back to a backup.")
        .later(
            Customer,
            "post",
            &format!("{one}/credentials/reset"),
            "Set the password of Odoo's administrator anew. Until then: Odoo's own reset by mail, or support.",
        )
        .later(Customer, "get", &format!("{one}/usage"), "Use of processor, memory and storage.")
        .later(Customer, "get", &format!("{one}/backups"), "Backups of an instance.")
        .later(Customer, "get", &format!("{one}/backups/{{backup_id}}"), "One backup.")
        .later(Admin, "delete", &format!("{one}/backups/{{backup_id}}"), "Delete a backup.")
        .later(Customer, "post", &format!("{one}/backups/{{backup_id}}/download"), "A link to a backup.")
        .later(OperatorPlus, "get", "/instance/admin/capacity", "Sums against the nodes.")
        .later(OperatorPlus, "get", "/instance/admin/storage", "Sums against the volumes.")
}
