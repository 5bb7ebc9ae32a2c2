//! gRPC of this service: who may call, messages ⇄ use cases.

mod admin;
mod audits;
mod convert;
mod customer;
mod hooks;
mod order;
mod payments;
mod plans;
mod pricing;

use contracts::billing::v1::audit_admin_service_server::AuditAdminServiceServer;
use contracts::billing::v1::billing_admin_service_server::BillingAdminServiceServer;
use contracts::billing::v1::billing_directory_service_server::BillingDirectoryServiceServer;
use contracts::billing::v1::billing_service_server::BillingServiceServer;
use contracts::billing::v1::catalog_service_server::CatalogServiceServer;
use contracts::billing::v1::order_service_server::OrderServiceServer;
use contracts::billing::v1::payment_service_server::PaymentServiceServer;
use contracts::billing::v1::pricing_admin_service_server::PricingAdminServiceServer;
use contracts::billing::v1::webhook_service_server::WebhookServiceServer;
use contracts::services::{GATEWAY, INSTANCE, USER, WORKER};
use runtime::grpc::{Allow, MethodPolicy, Needs};
use runtime::identity::Role;
use tonic::service::Routes;

use crate::app::App;

const ORDERS: &[Allow] = &[Allow { caller: INSTANCE, needs: Needs::Nothing }];
const CATALOGUE: &[Allow] = &[
    Allow { caller: GATEWAY, needs: Needs::Nothing },
    Allow { caller: INSTANCE, needs: Needs::Nothing },
    Allow { caller: WORKER, needs: Needs::Nothing },
];
const CUSTOMER: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Customer) }];
const OPERATOR: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Operator) }];
const ADMIN: &[Allow] = &[Allow { caller: GATEWAY, needs: Needs::User(Role::Admin) }];

/// Everybody else is refused.
pub const POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.billing.v1.CatalogService/ListPlans", allow: CATALOGUE },
    MethodPolicy { method: "/saasodoo.billing.v1.CatalogService/GetPlan", allow: CATALOGUE },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/PlaceOrder", allow: ORDERS },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/CancelOrder", allow: ORDERS },
    MethodPolicy {
        method: "/saasodoo.billing.v1.OrderService/GetEntitlement",
        allow: &[
            Allow { caller: INSTANCE, needs: Needs::Nothing },
            Allow { caller: WORKER, needs: Needs::Nothing },
        ],
    },
    MethodPolicy {
        method: "/saasodoo.billing.v1.OrderService/GetEntitlements",
        allow: &[Allow { caller: INSTANCE, needs: Needs::Nothing }],
    },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/GetTrialEligibility", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/ListSubscriptions", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/GetSubscription", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/ReactivateOrder", allow: ORDERS },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/GetOverview", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/GetAccount", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/UpdateAccount", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/ListInvoices", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/GetInvoice", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/GetInvoicePdf", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/UpgradeSubscription", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/DowngradeSubscription", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/UndoDowngrade", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/CancelSubscription", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingService/UndoCancel", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.PaymentService/InitiatePayment", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.PaymentService/GetPayment", allow: CUSTOMER },
    MethodPolicy { method: "/saasodoo.billing.v1.PaymentService/ListPayments", allow: CUSTOMER },
    MethodPolicy {
        method: "/saasodoo.billing.v1.PaymentService/GetPaymentOutcome",
        allow: &[Allow { caller: GATEWAY, needs: Needs::Nothing }],
    },
    MethodPolicy {
        method: "/saasodoo.billing.v1.WebhookService/ReceiveWebhook",
        allow: &[Allow { caller: GATEWAY, needs: Needs::Nothing }],
    },
    MethodPolicy {
        method: "/saasodoo.billing.v1.BillingAdminService/AdminListSubscriptions",
        allow: OPERATOR,
    },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/AdminListInvoices", allow: OPERATOR },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/AdminListPayments", allow: OPERATOR },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/RecordPayment", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/RefundPayment", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/GiveCredit", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/VoidInvoice", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/WriteOffInvoice", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/ExtendTrial", allow: OPERATOR },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/ListWebhooks", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/ReplayWebhook", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/Reconcile", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.BillingAdminService/AdvanceClock", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/ListCoupons", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/GetCoupon", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/CreateCoupon", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/ChangeCoupon", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/ListCouponUses", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/ListTaxRates", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/PutTaxRate", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/EndTaxRate", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.PricingAdminService/WithdrawTaxRate", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.AuditAdminService/ListFindings", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.AuditAdminService/GetFinding", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.AuditAdminService/AcknowledgeFinding", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.AuditAdminService/ListAudits", allow: ADMIN },
    MethodPolicy { method: "/saasodoo.billing.v1.AuditAdminService/RunAudit", allow: ADMIN },
    MethodPolicy {
        method: "/saasodoo.billing.v1.BillingService/GetProviderHealth",
        allow: &[Allow { caller: GATEWAY, needs: Needs::Nothing }],
    },
    MethodPolicy {
        method: "/saasodoo.billing.v1.BillingDirectoryService/GetCustomerStanding",
        allow: &[Allow { caller: USER, needs: Needs::Nothing }],
    },
];

/// Behind all services.
#[derive(Debug, Clone)]
pub struct Api {
    /// Use cases.
    pub app: App,
}

/// The services of this process.
pub fn routes(api: &Api) -> Routes {
    let mut routes = Routes::builder();
    routes
        .add_service(CatalogServiceServer::new(api.clone()))
        .add_service(OrderServiceServer::new(api.clone()))
        .add_service(BillingServiceServer::new(api.clone()))
        .add_service(PaymentServiceServer::new(api.clone()))
        .add_service(WebhookServiceServer::new(api.clone()))
        .add_service(BillingAdminServiceServer::new(api.clone()))
        .add_service(PricingAdminServiceServer::new(api.clone()))
        .add_service(AuditAdminServiceServer::new(api.clone()))
        .add_service(BillingDirectoryServiceServer::new(api.clone()));
    routes.routes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SEC-02, GTW-05
    #[test]
    fn every_method_says_who_may_call_it() {
        let undeclared =
            runtime::grpc::undeclared_methods(contracts::DESCRIPTOR_SET, "saasodoo.billing.v1", POLICIES);
        assert!(undeclared.is_empty(), "{undeclared:?}");
    }
}
