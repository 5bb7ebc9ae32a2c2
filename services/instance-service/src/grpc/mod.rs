//! The gRPC edge: parse early, call a use case, convert. Who may call what stands in [`POLICIES`].

mod admin;
mod convert;
mod directory;
mod instances;

use contracts::instance::v1::instance_admin_service_server::InstanceAdminServiceServer;
use contracts::instance::v1::instance_directory_service_server::InstanceDirectoryServiceServer;
use contracts::instance::v1::instance_service_server::InstanceServiceServer;
use contracts::services::{AUTOMATION, BILLING, GATEWAY, INSTANCE, USER, WORKER};
use runtime::grpc::{Allow, MethodPolicy, Needs};
use runtime::identity::Role;
use tonic::service::Routes;
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;

const CUSTOMERS: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Customer) }];
const OPERATORS: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Operator) }];
const ADMINS: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) }];
/// What services may ask of an instance over HTTP.
const ACTORS: &[Allow] = &[
    Allow { caller: GATEWAY, needs: Needs::User(Role::Customer) },
    Allow { caller: GATEWAY, needs: Needs::Origin(&[AUTOMATION, BILLING, USER]) },
];
/// Looking at the watch, for operators and services.
const WATCHERS: &[Allow] = &[
    Allow { caller: GATEWAY, needs: Needs::User(Role::Operator) },
    Allow { caller: GATEWAY, needs: Needs::Origin(&[AUTOMATION, WORKER]) },
];
/// Switching it.
const WATCH_KEEPERS: &[Allow] = &[
    Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) },
    Allow { caller: GATEWAY, needs: Needs::Origin(&[AUTOMATION, WORKER]) },
];
const MOVERS: &[Allow] = &[
    Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) },
    Allow { caller: GATEWAY, needs: Needs::Origin(&[AUTOMATION, INSTANCE, WORKER]) },
];
const ACCOUNTS: &[Allow] = &[Allow { caller: USER, needs: Needs::Nothing }];
const SERVICES: &[Allow] =
    &[Allow { caller: USER, needs: Needs::Nothing }, Allow { caller: BILLING, needs: Needs::Nothing }];
const MONEY: &[Allow] = &[Allow { caller: BILLING, needs: Needs::Nothing }];

/// Who may call which method.
pub const POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/CreateInstance", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/GetInstance", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/GetInstanceBySubscription", allow: ACTORS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/ListInstances", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/UpdateInstance", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/ActOnInstance", allow: ACTORS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/CheckSubdomain", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/GetInstanceStatus", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/GetInstanceLogs", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/ListEvents", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/ListOperations", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/GetOperation", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/WatchOperation", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/CancelOperation", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/RevealCredentials", allow: CUSTOMERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceService/ReactivateInstance", allow: CUSTOMERS },
    MethodPolicy {
        method: "/saasodoo.instance.v1.InstanceAdminService/ListFailedInstances",
        allow: OPERATORS,
    },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/RetryInstance", allow: OPERATORS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/MoveDatabase", allow: MOVERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/RotatePassword", allow: MOVERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/DrainPool", allow: MOVERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/GetDrain", allow: MOVERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/StopDrain", allow: MOVERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/GetInstanceStats", allow: OPERATORS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/ListOrphans", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/PurgeExpired", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/GetMonitoring", allow: WATCHERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/SetMonitoring", allow: WATCH_KEEPERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceAdminService/Reconcile", allow: WATCH_KEEPERS },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceDirectoryService/CountInstances", allow: SERVICES },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceDirectoryService/TerminateAll", allow: ACCOUNTS },
    MethodPolicy {
        method: "/saasodoo.instance.v1.InstanceDirectoryService/FindBySubscription",
        allow: MONEY,
    },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceDirectoryService/ListLive", allow: MONEY },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceDirectoryService/GetStorageUsage", allow: MONEY },
];

/// All services of this process.
pub fn routes(app: &App) -> Routes {
    Routes::new(InstanceServiceServer::new(instances::Api(app.clone())))
        .add_service(InstanceAdminServiceServer::new(admin::Api(app.clone())))
        .add_service(InstanceDirectoryServiceServer::new(directory::Api(app.clone())))
}

/// An id of a path; one that is no UUID belongs to nothing.
fn id(thing: &'static str, text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::NotFound(thing))
}

/// An id of a body or query.
fn field_id(field: &str, text: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::invalid(field, "must be a UUID"))
}

#[cfg(test)]
mod tests {
    /// SEC-02
    #[test]
    fn every_method_says_who_may_call_it() {
        let undeclared = runtime::grpc::undeclared_methods(
            contracts::DESCRIPTOR_SET,
            "saasodoo.instance.v1",
            super::POLICIES,
        );
        assert!(undeclared.is_empty(), "{undeclared:?}");
    }
}
