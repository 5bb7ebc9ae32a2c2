//! gRPC of this service: who may call, messages ⇄ use cases.

mod admin;
mod send;

use contracts::notification::v1::notification_admin_service_server::NotificationAdminServiceServer;
use contracts::notification::v1::notification_service_server::NotificationServiceServer;
use contracts::services::{BILLING, GATEWAY, INSTANCE, USER};
use runtime::grpc::{Allow, MethodPolicy, Needs};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::service::Routes;

use crate::app::MailQueue;
use crate::smtp::Mailer;

const OPERATOR: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Operator) }];
const ADMIN: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) }];

/// Everybody else is refused.
pub const POLICIES: &[MethodPolicy] = &[
    MethodPolicy {
        method: "/saasodoo.notification.v1.NotificationService/SendTemplate",
        allow: &[
            Allow { caller: USER, needs: Needs::Nothing },
            Allow { caller: INSTANCE, needs: Needs::Nothing },
            Allow { caller: BILLING, needs: Needs::Nothing },
        ],
    },
    MethodPolicy { method: "/saasodoo.notification.v1.NotificationAdminService/ListEmails", allow: OPERATOR },
    MethodPolicy { method: "/saasodoo.notification.v1.NotificationAdminService/GetEmail", allow: OPERATOR },
    MethodPolicy { method: "/saasodoo.notification.v1.NotificationAdminService/ResendEmail", allow: ADMIN },
    MethodPolicy {
        method: "/saasodoo.notification.v1.NotificationAdminService/TestConnection",
        allow: ADMIN,
    },
    MethodPolicy { method: "/saasodoo.notification.v1.NotificationAdminService/SendTestEmail", allow: ADMIN },
    MethodPolicy {
        method: "/saasodoo.notification.v1.NotificationAdminService/ListTemplates",
        allow: OPERATOR,
    },
    MethodPolicy {
        method: "/saasodoo.notification.v1.NotificationAdminService/GetTemplate",
        allow: OPERATOR,
    },
    MethodPolicy {
        method: "/saasodoo.notification.v1.NotificationAdminService/PreviewTemplate",
        allow: OPERATOR,
    },
    MethodPolicy {
        method: "/saasodoo.notification.v1.NotificationAdminService/GetDetailedHealth",
        allow: OPERATOR,
    },
];

/// Behind both services.
#[derive(Debug, Clone)]
pub struct Api {
    /// Own database.
    pub pool: PgPool,
    /// Takes orders.
    pub queue: MailQueue,
    /// For connection tests.
    pub mailer: Mailer,
}

/// The services of this process.
pub fn routes(api: &Api) -> Routes {
    let mut routes = Routes::builder();
    routes
        .add_service(NotificationServiceServer::new(api.clone()))
        .add_service(NotificationAdminServiceServer::new(api.clone()));
    routes.routes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-02, GTW-05
    #[test]
    fn every_method_says_who_may_call_it() {
        let undeclared = runtime::grpc::undeclared_methods(
            contracts::DESCRIPTOR_SET,
            "saasodoo.notification.v1",
            POLICIES,
        );
        assert!(undeclared.is_empty(), "{undeclared:?}");
    }
}
