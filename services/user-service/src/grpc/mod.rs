//! The gRPC adapter: messages in, use cases, messages out. No rules here.

mod account;
mod admin;
mod auth;
mod convert;
mod directory;

use contracts::services::{BILLING, GATEWAY, INSTANCE, NOTIFICATION};
use contracts::user::v1::account_service_server::AccountServiceServer;
use contracts::user::v1::auth_service_server::AuthServiceServer;
use contracts::user::v1::customer_directory_service_server::CustomerDirectoryServiceServer;
use contracts::user::v1::user_admin_service_server::UserAdminServiceServer;
use runtime::grpc::{Allow, MethodPolicy, Needs};
use runtime::identity::{self, Role};
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::app::{App, Caller, Client};

/// The gateway, for itself.
const PUBLIC: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::Nothing }];
/// The gateway, for a signed-in user.
const SIGNED_IN: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Customer) }];
/// The gateway, for an operator or higher.
const OPERATOR: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Operator) }];
/// The gateway, for an admin or higher.
const ADMIN: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) }];
/// The gateway, for a super_admin.
const SUPER_ADMIN: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::SuperAdmin) }];
/// Services that need to know whom they work for.
const SERVICES: &[Allow] = &[
    Allow { caller: NOTIFICATION, needs: Needs::Nothing },
    Allow { caller: INSTANCE, needs: Needs::Nothing },
    Allow { caller: BILLING, needs: Needs::Nothing },
];

macro_rules! policies {
    ($($service:literal: $($method:literal $allow:ident),+;)+) => {
        &[$($(MethodPolicy { method: concat!("/saasodoo.user.v1.", $service, "/", $method), allow: $allow }),+),+]
    };
}

/// Who may call which method (SEC-02, USR-22); everything else is refused.
pub const POLICIES: &[MethodPolicy] = policies! {
    "AuthService":
        "Register" PUBLIC, "Login" PUBLIC, "RefreshToken" PUBLIC, "VerifyEmail" PUBLIC, "ResendVerification" PUBLIC,
        "RequestPasswordReset" PUBLIC, "CompletePasswordReset" PUBLIC, "CheckSession" PUBLIC;
    "AccountService":
        "Logout" SIGNED_IN, "ChangePassword" SIGNED_IN, "GetProfile" SIGNED_IN, "UpdateProfile" SIGNED_IN, "GetPreferences" SIGNED_IN,
        "UpdatePreferences" SIGNED_IN, "ListSessions" SIGNED_IN, "RevokeSessions" SIGNED_IN, "ListOwnAudit" SIGNED_IN,
        "CloseAccount" SIGNED_IN;
    "UserAdminService":
        "ListCustomers" OPERATOR, "GetCustomerDetail" OPERATOR, "SetCustomerActive" ADMIN, "ForcePasswordReset" ADMIN, "EndSessions" ADMIN,
        "SetRole" SUPER_ADMIN, "SetQuota" ADMIN, "ListAudit" ADMIN;
    "CustomerDirectoryService":
        "GetCustomer" SERVICES, "BatchGetCustomers" SERVICES, "ListErasedCustomers" SERVICES;
};

/// All services of this process.
pub fn routes(app: &App) -> Routes {
    let api = Api { app: app.clone() };
    Routes::new(AuthServiceServer::new(api.clone()))
        .add_service(AccountServiceServer::new(api.clone()))
        .add_service(UserAdminServiceServer::new(api.clone()))
        .add_service(CustomerDirectoryServiceServer::new(api))
}

/// The server side of every contract.
#[derive(Debug, Clone)]
struct Api {
    app: App,
}

impl Api {
    /// The user of a request, whose session must be live.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.caller_with(request, Role::Customer).await
    }

    /// The same, with at least this role now. The policy looked at the token; this looks at the account.
    async fn caller_with<T>(&self, request: &Request<T>, minimum: Role) -> Result<Caller, Status> {
        let caller = identity::Caller::of(request)?;
        Ok(self.app.signed_in_as(caller.require_user()?, minimum, client_of(caller)).await?)
    }
}

fn client_of(caller: &identity::Caller) -> Client {
    Client { request_id: caller.request_id.clone(), ip: caller.client_ip }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-02, USR-22: no method is forgotten, none is open by accident.
    #[test]
    fn every_method_has_a_policy() {
        let open = runtime::grpc::undeclared_methods(contracts::DESCRIPTOR_SET, "saasodoo.user.v1", POLICIES);
        assert!(open.is_empty(), "{open:?}");
    }

    /// USR-22, USR-28
    #[test]
    fn only_the_gateway_speaks_for_users_and_only_services_look_customers_up() {
        for policy in POLICIES {
            let callers: Vec<&str> = policy.allow.iter().map(|allow| allow.caller).collect();
            if policy.method.contains("CustomerDirectoryService") {
                assert!(!callers.contains(&GATEWAY), "{}", policy.method);
            } else {
                assert_eq!(callers, [GATEWAY], "{}", policy.method);
            }
        }
    }
}
