//! The gRPC face: who may call what, and conversions between messages and the use cases' types.

mod admin;
mod allocation;
mod credentials;
mod messages;
mod moves;
mod pool_work;

use contracts::database::v1 as proto;
use contracts::database::v1::allocation_service_server::AllocationServiceServer;
use contracts::database::v1::credential_service_server::CredentialServiceServer;
use contracts::database::v1::database_admin_service_server::DatabaseAdminServiceServer;
use contracts::database::v1::move_service_server::MoveServiceServer;
use contracts::database::v1::pool_work_service_server::PoolWorkServiceServer;
use contracts::scalars::timestamp;
use contracts::services::{AUTOMATION, GATEWAY, INSTANCE, WORKER};
use runtime::grpc::{Allow, MethodPolicy, Needs};
use runtime::identity::{self, Role};
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::app::App;
use crate::domain::allocation::Allocation;
use crate::domain::caller::Caller;
use crate::domain::server::Server;

const WORKER_ONLY: &[Allow] = &[Allow { caller: WORKER, needs: Needs::Nothing }];
/// Services that may ask over HTTP for what admins may.
const SERVICES: Needs = Needs::Origin(&[AUTOMATION, INSTANCE, WORKER]);
const ADMINS: &[Allow] =
    &[Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) }, Allow { caller: GATEWAY, needs: SERVICES }];
const WORKER_OR_ADMIN: &[Allow] = &[
    Allow { caller: WORKER, needs: Needs::Nothing },
    Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) },
    Allow { caller: GATEWAY, needs: SERVICES },
];
const PUBLIC_HEALTH: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::Nothing }];

/// Who may call which method (SEC-02). Passwords leave by worker-only methods.
pub const POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.database.v1.AllocationService/Allocate", allow: WORKER_OR_ADMIN },
    MethodPolicy { method: "/saasodoo.database.v1.AllocationService/GetCredentials", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.AllocationService/Release", allow: WORKER_OR_ADMIN },
    MethodPolicy { method: "/saasodoo.database.v1.AllocationService/Reclaim", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/ReserveMove", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/BeginCopy", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/CompareCopy", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/SyncCopy", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/VerifyCopy", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/SwitchMove", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/AbortMove", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.MoveService/FinishMove", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/PreviewMove", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.CredentialService/BeginRotation", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.CredentialService/SwitchRotation", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.CredentialService/RetireRotation", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.CredentialService/AbortRotation", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/RotateAllocation", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/RotatePool", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.PoolWorkService/ListPoolSpecs", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.PoolWorkService/GetPoolSecret", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.PoolWorkService/ReportPool", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.PoolWorkService/ReportClusterContact", allow: WORKER_ONLY },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/ListPools", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/GetPool", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/ProvisionPool", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/UpdatePool", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/DeletePool", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/CheckPool", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/ListPoolTenants", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/GetDatabaseStats", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/ProvisionDedicated", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/GetAllocation", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/StartDatabaseTask", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/GetDatabaseTask", allow: ADMINS },
    MethodPolicy { method: "/saasodoo.database.v1.DatabaseAdminService/ListDatabaseTasks", allow: ADMINS },
    MethodPolicy {
        method: "/saasodoo.database.v1.DatabaseAdminService/GetClusterContact",
        allow: PUBLIC_HEALTH,
    },
];

/// All services of this process.
pub fn routes(app: &App) -> Routes {
    Routes::new(AllocationServiceServer::new(allocation::Api(app.clone())))
        .add_service(PoolWorkServiceServer::new(pool_work::Api(app.clone())))
        .add_service(CredentialServiceServer::new(credentials::Api(app.clone())))
        .add_service(MoveServiceServer::new(moves::Api(app.clone())))
        .add_service(DatabaseAdminServiceServer::new(admin::Api(app.clone())))
}

/// Who asks, as use cases and the audit log know them.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let known = identity::Caller::of(request)?;
    Ok(Caller {
        actor: known.actor(),
        role: known.user.as_ref().map_or_else(|| "service".to_owned(), |user| user.role.to_string()),
        request_id: known.request_id.clone(),
        client_ip: known.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
    })
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn unsigned(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn allocation_message(app: &App, allocation: &Allocation, server: &Server) -> proto::Allocation {
    proto::Allocation {
        id: allocation.id.to_string(),
        instance_id: allocation.instance_id.clone(),
        customer_id: allocation.customer_id.clone(),
        db_server_id: server.id.to_string(),
        db_server_name: server.name.clone(),
        db_host: server.host.clone(),
        db_port: unsigned(server.port),
        db_name: allocation.db_name.clone(),
        db_user: allocation.db_user.clone(),
        db_type: server.server_type.to_string(),
        plan_tier: allocation.plan_tier.to_string(),
        state: allocation.state.to_string(),
        created_at: Some(timestamp(allocation.created_at)),
        purge_after: allocation.purge_after.map(timestamp),
        secret_namespace: app.settings.instances_namespace.clone(),
        // The worker names the objects of an instance so; for an id that is no instance's there is none.
        secret_name: ["odoo-", &allocation.instance_id].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-02
    #[test]
    fn every_method_says_who_may_call_it() {
        let undeclared =
            runtime::grpc::undeclared_methods(contracts::DESCRIPTOR_SET, "saasodoo.database.v1", POLICIES);
        assert_eq!(undeclared, Vec::<String>::new());
    }
}
