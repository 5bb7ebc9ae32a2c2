//! `/user`: accounts and sessions (part 1 of the API).

mod account;
mod admin;
mod auth;

use utoipa_axum::routes;

use crate::access::Access::{Admin, Customer, OperatorPlus, Public, SuperAdmin};
use crate::api::Api;

/// Adds the routes.
pub fn add(api: Api) -> Api {
    api.auth(Public, routes!(auth::register))
        .auth(Public, routes!(auth::login))
        .auth(Public, routes!(auth::refresh_token))
        .auth(Public, routes!(auth::verify_email))
        .auth(Public, routes!(auth::resend_verification))
        .auth(Public, routes!(auth::request_password_reset))
        .auth(Public, routes!(auth::complete_password_reset))
        .auth(Customer, routes!(account::change_password))
        .add(Customer, routes!(account::logout))
        .add(Customer, routes!(account::me))
        .add(Customer, routes!(account::list_sessions))
        .add(Customer, routes!(account::revoke_session))
        .add(Customer, routes!(account::revoke_other_sessions))
        .add(Customer, routes!(account::get_profile))
        .add(Customer, routes!(account::update_profile))
        .add(Customer, routes!(account::get_preferences))
        .add(Customer, routes!(account::update_preferences))
        .add(Customer, routes!(account::list_own_audit))
        .add(Customer, routes!(account::close_account))
        .add(OperatorPlus, routes!(admin::list_customers))
        .add(OperatorPlus, routes!(admin::get_customer))
        .add(Admin, routes!(admin::deactivate_customer))
        .add(Admin, routes!(admin::reactivate_customer))
        .add(Admin, routes!(admin::force_password_reset))
        .add(Admin, routes!(admin::end_sessions))
        .add(SuperAdmin, routes!(admin::set_role))
        .add(Admin, routes!(admin::set_quota))
        .add(Admin, routes!(admin::list_audit))
}
