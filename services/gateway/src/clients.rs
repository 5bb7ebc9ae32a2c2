//! Clients of the five services.

use std::time::Duration;

use contracts::billing::v1::audit_admin_service_client::AuditAdminServiceClient;
use contracts::billing::v1::billing_admin_service_client::BillingAdminServiceClient;
use contracts::billing::v1::billing_service_client::BillingServiceClient;
use contracts::billing::v1::catalog_service_client::CatalogServiceClient;
use contracts::billing::v1::payment_service_client::PaymentServiceClient;
use contracts::billing::v1::pricing_admin_service_client::PricingAdminServiceClient;
use contracts::billing::v1::webhook_service_client::WebhookServiceClient;
use contracts::database::v1::allocation_service_client::AllocationServiceClient;
use contracts::database::v1::database_admin_service_client::DatabaseAdminServiceClient;
use contracts::instance::v1::instance_admin_service_client::InstanceAdminServiceClient;
use contracts::instance::v1::instance_service_client::InstanceServiceClient;
use contracts::notification::v1::notification_admin_service_client::NotificationAdminServiceClient;
use contracts::services;
use contracts::user::v1::account_service_client::AccountServiceClient;
use contracts::user::v1::auth_service_client::AuthServiceClient;
use contracts::user::v1::user_admin_service_client::UserAdminServiceClient;
use runtime::grpc::{Authenticated, Dialer};
use tonic_health::pb::health_client::HealthClient;

use crate::config::Services;

/// Longest call; below the 30 s of a request, so that a late service is a problem document and not a cut connection.
const CALL: Duration = Duration::from_secs(25);
/// Health pages and session checks must answer soon.
const QUICK: Duration = Duration::from_secs(2);

/// One client for each gRPC service that the gateway calls. Cloning one shares its connection.
#[derive(Debug, Clone)]
pub struct Clients {
    pub auth: AuthServiceClient<Authenticated>,
    pub sessions: AuthServiceClient<Authenticated>,
    pub account: AccountServiceClient<Authenticated>,
    pub user_admin: UserAdminServiceClient<Authenticated>,
    pub catalog: CatalogServiceClient<Authenticated>,
    pub billing: BillingServiceClient<Authenticated>,
    pub billing_admin: BillingAdminServiceClient<Authenticated>,
    pub billing_audits: AuditAdminServiceClient<Authenticated>,
    pub pricing: PricingAdminServiceClient<Authenticated>,
    pub payments: PaymentServiceClient<Authenticated>,
    pub webhooks: WebhookServiceClient<Authenticated>,
    pub billing_health: BillingServiceClient<Authenticated>,
    pub instances: InstanceServiceClient<Authenticated>,
    pub instance_admin: InstanceAdminServiceClient<Authenticated>,
    pub databases: DatabaseAdminServiceClient<Authenticated>,
    pub allocations: AllocationServiceClient<Authenticated>,
    pub databases_health: DatabaseAdminServiceClient<Authenticated>,
    pub notifications: NotificationAdminServiceClient<Authenticated>,
    health: Vec<(Part, HealthClient<Authenticated>)>,
}

/// A service behind a path prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    User,
    Billing,
    Instance,
    Database,
    Notification,
}

impl Part {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 5] =
        [Self::User, Self::Billing, Self::Instance, Self::Database, Self::Notification];

    /// First part of the path.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Billing => "billing",
            Self::Instance => "instance",
            Self::Database => "database",
            Self::Notification => "notification",
        }
    }

    /// Name of the service.
    pub fn service(self) -> &'static str {
        match self {
            Self::User => services::USER,
            Self::Billing => services::BILLING,
            Self::Instance => services::INSTANCE,
            Self::Database => services::DATABASE,
            Self::Notification => services::NOTIFICATION,
        }
    }
}

impl Clients {
    /// Lazy clients: a service that is away fails the calls to it, not the start.
    pub fn try_new(dialer: &Dialer, urls: &Services) -> anyhow::Result<Self> {
        let url = |part: Part| match part {
            Part::User => &urls.user_service_url,
            Part::Billing => &urls.billing_service_url,
            Part::Instance => &urls.instance_service_url,
            Part::Database => &urls.database_service_url,
            Part::Notification => &urls.notification_service_url,
        };
        let call = |part: Part| dialer.channel(part.service(), url(part), CALL);
        let quick = |part: Part| dialer.channel(part.service(), url(part), QUICK);
        let (user, billing, instance) = (call(Part::User)?, call(Part::Billing)?, call(Part::Instance)?);
        let database = call(Part::Database)?;
        let mut health = Vec::new();
        for part in Part::ALL {
            health.push((part, HealthClient::new(quick(part)?)));
        }
        Ok(Self {
            auth: AuthServiceClient::new(user.clone()),
            sessions: AuthServiceClient::new(quick(Part::User)?),
            account: AccountServiceClient::new(user.clone()),
            user_admin: UserAdminServiceClient::new(user),
            catalog: CatalogServiceClient::new(billing.clone()),
            billing: BillingServiceClient::new(billing.clone()),
            billing_admin: BillingAdminServiceClient::new(billing.clone()),
            billing_audits: AuditAdminServiceClient::new(billing.clone()),
            pricing: PricingAdminServiceClient::new(billing.clone()),
            payments: PaymentServiceClient::new(billing.clone()),
            webhooks: WebhookServiceClient::new(billing),
            billing_health: BillingServiceClient::new(quick(Part::Billing)?),
            instances: InstanceServiceClient::new(instance.clone()),
            instance_admin: InstanceAdminServiceClient::new(instance),
            allocations: AllocationServiceClient::new(database.clone()),
            databases: DatabaseAdminServiceClient::new(database),
            databases_health: DatabaseAdminServiceClient::new(quick(Part::Database)?),
            notifications: NotificationAdminServiceClient::new(call(Part::Notification)?),
            health,
        })
    }

    /// The health service of a part.
    pub fn health(&self, part: Part) -> Option<HealthClient<Authenticated>> {
        self.health.iter().find(|(known, _)| *known == part).map(|(_, client)| client.clone())
    }
}
