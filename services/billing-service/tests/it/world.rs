//! Everything around billing: a directory of customers, a directory of instances, a provider with faults, the
//! gRPC API.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use billing_service::app;
use billing_service::app::App;
use billing_service::clients::Clients;
use billing_service::domain::catalogue::Catalogue;
use billing_service::domain::document::Seller;
use billing_service::domain::money::Money;
use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::failpoint::FailPoint;
use billing_service::gateway::Gateways;
use billing_service::gateway::test_gateway::TestGateway;
use billing_service::grpc::{Api, POLICIES, routes};
use billing_service::metrics::BillingMetrics;
use billing_service::pdf::Fonts;
use billing_service::provider::killbill::Access;
use billing_service::provider::killbill::KillBill;
use billing_service::provider::ledger::Ledger;
use billing_service::provider::{
    CancelWhen, Name, NewCredit, NewRefund, NewSubscription, OutsidePayment, PlanChange, Provider,
    ProviderError, Pulled, Snapshot, WithDeadline,
};
use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_service_client::BillingServiceClient;
use contracts::billing::v1::order_service_client::OrderServiceClient;
use contracts::instance::v1 as instance;
use contracts::instance::v1::instance_directory_service_server::{
    InstanceDirectoryService, InstanceDirectoryServiceServer,
};
use contracts::services::{BILLING, INSTANCE, USER};
use contracts::user::v1 as user;
use contracts::user::v1::customer_directory_service_server::{
    CustomerDirectoryService, CustomerDirectoryServiceServer,
};
use runtime::grpc::{Allow, Authenticated, MethodPolicy, Needs, Refusal, on_behalf_of};
use runtime::identity::Role;
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use test_kit::grpc::Running;
use test_kit::identity::Keyring;
use test_kit::killbill::{self as fake_killbill, FakeKillBill, Line};
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

/// user-service as the tests want it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    addresses: Arc<Mutex<HashMap<String, String>>>,
    countries: Arc<Mutex<HashMap<String, String>>>,
    erased: Arc<Mutex<BTreeSet<Uuid>>>,
    away: Arc<AtomicBool>,
}

impl Directory {
    pub(crate) fn erase(&self, id: Uuid) {
        self.erased.lock().unwrap().insert(id);
    }

    pub(crate) fn add(&self, email: &str) -> Uuid {
        let id = Uuid::now_v7();
        self.addresses.lock().unwrap().insert(id.to_string(), email.to_owned());
        id
    }

    /// One who gave a country at registration.
    pub(crate) fn add_from(&self, country: &str, email: &str) -> Uuid {
        let id = self.add(email);
        self.countries.lock().unwrap().insert(id.to_string(), country.to_owned());
        id
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl CustomerDirectoryService for Directory {
    async fn get_customer(
        &self,
        request: Request<user::GetCustomerRequest>,
    ) -> Result<Response<user::GetCustomerResponse>, Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        let id = request.into_inner().customer_id;
        let email = self.addresses.lock().unwrap().get(&id).cloned();
        let email = email.ok_or_else(|| Status::not_found("customer"))?;
        let country = self.countries.lock().unwrap().get(&id).cloned().unwrap_or_default();
        let first_name = email.split('@').next().unwrap_or_default().to_owned();
        let customer = Some(user::Customer { id, email, first_name, country, ..Default::default() });
        Ok(Response::new(user::GetCustomerResponse { customer }))
    }

    async fn batch_get_customers(
        &self,
        _: Request<user::BatchGetCustomersRequest>,
    ) -> Result<Response<user::BatchGetCustomersResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn list_erased_customers(
        &self,
        request: Request<user::ListErasedCustomersRequest>,
    ) -> Result<Response<user::ListErasedCustomersResponse>, Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        let asked = request.into_inner();
        let erased = self.erased.lock().unwrap();
        let ids = erased.iter().map(Uuid::to_string).filter(|id| *id > asked.after);
        let customers = ids
            .take(usize::try_from(asked.limit).unwrap())
            .map(|customer_id| user::ErasedCustomer { customer_id, erased_at: None })
            .collect();
        Ok(Response::new(user::ListErasedCustomersResponse { customers }))
    }
}

/// instance-service as the tests want it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Instances {
    subscriptions: Arc<Mutex<HashMap<String, &'static str>>>,
    failed: Arc<Mutex<HashMap<String, time::OffsetDateTime>>>,
    used: Arc<Mutex<Option<u64>>>,
    live: Arc<Mutex<BTreeMap<String, instance::LiveInstance>>>,
    away: Arc<AtomicBool>,
}

impl Instances {
    pub(crate) fn add(&self, subscription: &str) {
        self.set(subscription, "running");
    }

    /// How the instance of a subscription stands.
    pub(crate) fn set(&self, subscription: &str, status: &'static str) {
        self.subscriptions.lock().unwrap().insert(subscription.to_owned(), status);
    }

    /// Its create failed then.
    pub(crate) fn fail(&self, subscription: &str, since: time::OffsetDateTime) {
        self.failed.lock().unwrap().insert(subscription.to_owned(), since);
        self.set(subscription, "error");
    }

    /// What each volume holds; `None`: no instance has a pod.
    pub(crate) fn set_used(&self, bytes: Option<u64>) {
        *self.used.lock().unwrap() = bytes;
    }

    /// A live instance.
    pub(crate) fn live(&self, id: Uuid, customer: Uuid, subscription: Option<Uuid>) {
        let live = instance::LiveInstance {
            instance_id: id.to_string(),
            customer_id: customer.to_string(),
            subscription_id: subscription.map(|id| id.to_string()).unwrap_or_default(),
        };
        self.live.lock().unwrap().insert(id.to_string(), live);
    }

    pub(crate) fn gone(&self, id: Uuid) {
        self.live.lock().unwrap().remove(&id.to_string());
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl InstanceDirectoryService for Instances {
    async fn count_instances(
        &self,
        _: Request<instance::CountInstancesRequest>,
    ) -> Result<Response<instance::CountInstancesResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn terminate_all(
        &self,
        _: Request<instance::TerminateAllRequest>,
    ) -> Result<Response<instance::TerminateAllResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn find_by_subscription(
        &self,
        request: Request<instance::FindBySubscriptionRequest>,
    ) -> Result<Response<instance::FindBySubscriptionResponse>, Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        let status = self.subscriptions.lock().unwrap().get(&request.get_ref().subscription_id).copied();
        let (found, status) = (status.is_some(), status.unwrap_or_default().to_owned());
        let provisioned = !matches!(status.as_str(), "" | "creating" | "error");
        let failed = self.failed.lock().unwrap().get(&request.get_ref().subscription_id).copied();
        let error_since = failed.map(contracts::scalars::timestamp).filter(|_| status == "error");
        let answer = instance::FindBySubscriptionResponse {
            found,
            status,
            provisioned,
            error_since,
            ..Default::default()
        };
        Ok(Response::new(answer))
    }

    async fn get_storage_usage(
        &self,
        _: Request<instance::GetStorageUsageRequest>,
    ) -> Result<Response<instance::GetStorageUsageResponse>, Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        let used = *self.used.lock().unwrap();
        let used_bytes = used.ok_or_else(|| {
            Status::from(Refusal::new(tonic::Code::FailedPrecondition, "no_pod", "the instance has no pod"))
        })?;
        Ok(Response::new(instance::GetStorageUsageResponse { used_bytes, ..Default::default() }))
    }

    async fn list_live(
        &self,
        request: Request<instance::ListLiveRequest>,
    ) -> Result<Response<instance::ListLiveResponse>, Status> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Status::unavailable("away"));
        }
        let asked = request.into_inner();
        // Small pages, so that there is more than one.
        let size = usize::try_from(asked.page_size).unwrap().min(2);
        let live = self.live.lock().unwrap();
        let instances =
            live.values().filter(|one| one.instance_id > asked.after).take(size).cloned().collect();
        Ok(Response::new(instance::ListLiveResponse { instances }))
    }
}

const USER_POLICIES: &[MethodPolicy] = &[
    MethodPolicy {
        method: "/saasodoo.user.v1.CustomerDirectoryService/GetCustomer",
        allow: &[Allow { caller: BILLING, needs: Needs::Nothing }],
    },
    MethodPolicy {
        method: "/saasodoo.user.v1.CustomerDirectoryService/ListErasedCustomers",
        allow: &[Allow { caller: BILLING, needs: Needs::Nothing }],
    },
];
const INSTANCE_POLICIES: &[MethodPolicy] = &[
    MethodPolicy {
        method: "/saasodoo.instance.v1.InstanceDirectoryService/FindBySubscription",
        allow: &[Allow { caller: BILLING, needs: Needs::Nothing }],
    },
    MethodPolicy {
        method: "/saasodoo.instance.v1.InstanceDirectoryService/ListLive",
        allow: &[Allow { caller: BILLING, needs: Needs::Nothing }],
    },
    MethodPolicy {
        method: "/saasodoo.instance.v1.InstanceDirectoryService/GetStorageUsage",
        allow: &[Allow { caller: BILLING, needs: Needs::Nothing }],
    },
];

/// Where a call to the provider goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Never answers to the account.
    HangAtAccount,
    /// Never answers, and has done nothing.
    HangBefore,
    /// Does it, and never answers.
    HangAfter,
    /// Fails, and has done nothing.
    FailBefore,
    /// Does it, and then fails.
    FailAfter,
    /// Understands, and never will.
    Refuse,
}

/// A remote provider that remembers.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    fault: Arc<Mutex<Fault>>,
    pub(crate) accounts: Arc<Mutex<HashSet<Uuid>>>,
    /// Live subscriptions.
    pub(crate) live: Arc<Mutex<HashSet<Uuid>>>,
}

impl Remote {
    pub(crate) fn new() -> Self {
        Self { fault: Arc::new(Mutex::new(Fault::None)), accounts: Arc::default(), live: Arc::default() }
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(crate) fn live(&self) -> usize {
        self.live.lock().unwrap().len()
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }
}

fn down() -> ProviderError {
    ProviderError::Unavailable(anyhow::anyhow!("down"))
}

#[tonic::async_trait]
impl Provider for Remote {
    fn name(&self) -> Name {
        Name::Killbill
    }

    async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError> {
        if self.fault() == Fault::HangAtAccount {
            std::future::pending::<()>().await;
        }
        self.accounts.lock().unwrap().insert(customer_id);
        Ok(format!("remote-{customer_id}"))
    }

    async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError> {
        let fault = self.fault();
        match fault {
            Fault::HangBefore => std::future::pending().await,
            Fault::FailBefore => return Err(down()),
            Fault::Refuse => return Err(ProviderError::Refused("no such plan".into())),
            _ => {}
        }
        self.live.lock().unwrap().insert(wanted.id);
        match fault {
            Fault::HangAfter => std::future::pending().await,
            Fault::FailAfter => Err(down()),
            _ => Ok(format!("remote-{}", wanted.id)),
        }
    }

    fn is_books_local(&self) -> bool {
        false
    }

    async fn ensure_ready(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn preview_change(&self, change: &PlanChange<'_>) -> Result<Money, ProviderError> {
        Ok(Money::zero(change.price.currency()))
    }

    async fn change(&self, _: &PlanChange<'_>) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn undo_change(&self, _: Uuid) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn undo_cancel(&self, _: Uuid) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn record_payment(&self, payment: &OutsidePayment<'_>) -> Result<String, ProviderError> {
        Ok(format!("remote-{}", payment.key))
    }

    async fn credit(&self, _: &NewCredit<'_>) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn write_off(&self, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn void(&self, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn refund(&self, _: &NewRefund<'_>) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn snapshot(&self, _: Uuid) -> Result<Snapshot, ProviderError> {
        Ok(Snapshot::default())
    }

    async fn customer_of_hook(&self, _: &[u8]) -> Result<Option<Uuid>, ProviderError> {
        Ok(None)
    }

    async fn cancel(&self, subscription_id: Uuid, _: CancelWhen) -> Result<(), ProviderError> {
        if self.fault() != Fault::None {
            return Err(down());
        }
        self.live.lock().unwrap().remove(&subscription_id);
        Ok(())
    }

    async fn pull(&self, subscription_id: Uuid) -> Result<Option<Pulled>, ProviderError> {
        let live = self.live.lock().unwrap().contains(&subscription_id);
        Ok(live.then(|| Pulled { provider_id: format!("remote-{subscription_id}"), ended_at: None }))
    }

    async fn health(&self) -> Result<(), ProviderError> {
        if self.fault() == Fault::None { Ok(()) } else { Err(down()) }
    }
}

fn seller() -> Seller {
    Seller {
        name: "SaaSOdoo Hosting Ltd".into(),
        address: vec!["12 Samora Machel Avenue".into(), "Harare".into(), "Zimbabwe".into()],
        tax_id: "ZW-2000123".into(),
        email: "billing@saasodoo.example".into(),
        footer: vec!["Bank: First Bank, account 0123456789, branch 0042".into()],
    }
}

/// The secret of the hooks' path.
pub(crate) const HOOK_TOKEN: &str = "hook-token-of-the-tests";

pub(crate) struct World {
    pub(crate) pool: PgPool,
    /// Of Kill Bill: key of the tenant, and the provider itself.
    pub(crate) api_key: String,
    pub(crate) killbill: Option<KillBill>,
    pub(crate) directory: Directory,
    pub(crate) instances: Instances,
    pub(crate) remote: Remote,
    pub(crate) app: App,
    pub(crate) metrics: Metrics,
    pub(crate) api: Running,
}

impl World {
    pub(crate) async fn start(pool: &PgPool) -> Self {
        Self::start_with(pool, ProvisionPolicy::OnInvoice).await
    }

    pub(crate) async fn start_with(pool: &PgPool, policy: ProvisionPolicy) -> Self {
        let remote = Remote::new();
        let gateways = Gateways::default().with(TestGateway);
        Self::build(pool, policy, remote.clone(), WithDeadline::new(remote), gateways).await
    }

    /// With the embedded ledger, which issues invoices.
    pub(crate) async fn ledger(pool: &PgPool, policy: ProvisionPolicy) -> Self {
        Self::paying(pool, policy, Gateways::default().with(TestGateway)).await
    }

    /// The same with these payment gateways.
    pub(crate) async fn paying(pool: &PgPool, policy: ProvisionPolicy, gateways: Gateways) -> Self {
        Self::build(pool, policy, Remote::new(), WithDeadline::new(Ledger::new(pool)), gateways).await
    }

    /// With a fake Kill Bill.
    pub(crate) async fn killbill(pool: &PgPool, policy: ProvisionPolicy, line: Line) -> (Self, FakeKillBill) {
        let fake = FakeKillBill::start(line, runtime::clock::now()).await.unwrap();
        (
            Self::killbill_at(pool, policy, access(&fake.url, fake_killbill::USER, fake_killbill::PASSWORD))
                .await,
            fake,
        )
    }

    /// With a Kill Bill that runs somewhere.
    pub(crate) async fn killbill_at(pool: &PgPool, policy: ProvisionPolicy, access: Access) -> Self {
        let provider =
            || KillBill::try_new(access.clone(), pool, None).unwrap().with_hook_tokens([HOOK_TOKEN.into()]);
        let mut world = Self::build(
            pool,
            policy,
            Remote::new(),
            WithDeadline::new(provider()),
            Gateways::default().with(TestGateway),
        )
        .await;
        world.api_key.clone_from(&access.api_key);
        world.killbill = Some(provider());
        world
    }

    async fn build(
        pool: &PgPool,
        policy: ProvisionPolicy,
        remote: Remote,
        provider: WithDeadline,
        gateways: Gateways,
    ) -> Self {
        app::catalogue::apply_catalogue(pool, &Catalogue::shipped(14).unwrap(), false).await.unwrap();
        let (keys, metrics) = (Keyring::new(), Metrics::new());
        let (directory, instances) = (Directory::default(), Instances::default());
        let mut users = Routes::builder();
        users.add_service(CustomerDirectoryServiceServer::new(directory.clone()));
        let users = test_kit::grpc::serve(USER, USER_POLICIES, &keys, users.routes()).await;
        let mut found = Routes::builder();
        found.add_service(InstanceDirectoryServiceServer::new(instances.clone()));
        let found = test_kit::grpc::serve(INSTANCE, INSTANCE_POLICIES, &keys, found.routes()).await;
        let app = App {
            pool: pool.clone(),
            provider,
            gateways,
            clients: Clients::try_new(&keys.dialer(BILLING), &users.url, &found.url).unwrap(),
            policy,
            confirm_within: time::Duration::minutes(15),
            give_up_after: time::Duration::hours(24),
            cooling_off: time::Duration::hours(24),
            pay_within: time::Duration::days(7),
            trial_days: 14,
            settings: app::settings::BillingSettings {
                test_clock: true,
                ..app::settings::BillingSettings::default()
            },
            documents: app::settings::DocumentSettings::new(seller(), Fonts::try_new(None).unwrap()),
            clock: app::clock::BillingClock::default(),
            wakeup: app::wakeup::Wakeup::default(),
            metrics: BillingMetrics::new(&metrics),
            fail: FailPoint::default(),
        };
        let api = test_kit::grpc::serve(BILLING, POLICIES, &keys, routes(&Api { app: app.clone() })).await;
        Self {
            pool: pool.clone(),
            api_key: String::new(),
            killbill: None,
            directory,
            instances,
            remote,
            app,
            metrics,
            api,
        }
    }

    /// A line of the metrics, such as `billing_audit_findings{kind="total_differs"}`, as its number.
    pub(crate) fn metric(&self, name: &str) -> Option<String> {
        let text = self.metrics.encode().unwrap();
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(ToOwned::to_owned))
    }

    pub(crate) fn orders(&self) -> OrderServiceClient<Authenticated> {
        OrderServiceClient::new(self.api.channel_as(INSTANCE))
    }

    pub(crate) async fn order(
        &self,
        customer: Uuid,
        instance: Uuid,
    ) -> Result<proto::PlaceOrderResponse, Status> {
        self.order_plan(customer, instance, "basic-monthly", None).await
    }

    pub(crate) async fn order_plan(
        &self,
        customer: Uuid,
        instance: Uuid,
        plan: &str,
        trial: Option<bool>,
    ) -> Result<proto::PlaceOrderResponse, Status> {
        let request = proto::PlaceOrderRequest {
            instance_id: instance.to_string(),
            customer_id: customer.to_string(),
            plan_name: plan.into(),
            trial,
            settings_json: r#"{"name": "Shop"}"#.into(),
            coupon: String::new(),
            ..proto::PlaceOrderRequest::default()
        };
        Ok(self.orders().place_order(request).await?.into_inner())
    }

    pub(crate) async fn cancel(&self, instance: Uuid) -> Result<(), Status> {
        let request =
            proto::CancelOrderRequest { instance_id: instance.to_string(), reason: "not_stored".into() };
        self.orders().cancel_order(request).await.map(drop)
    }

    pub(crate) async fn entitlement(&self, subscription: &str) -> proto::GetEntitlementResponse {
        let request = proto::GetEntitlementRequest { subscription_id: subscription.into() };
        self.orders().get_entitlement(request).await.unwrap().into_inner()
    }

    pub(crate) fn billing(&self) -> BillingServiceClient<Authenticated> {
        BillingServiceClient::new(self.api.channel())
    }

    pub(crate) fn by<T>(&self, user: Uuid, role: Role, message: T) -> Request<T> {
        on_behalf_of(message, Some(&self.api.keys.user_token(user, role)), "test", None)
    }

    pub(crate) async fn eligibility(&self, customer: Uuid) -> proto::GetTrialEligibilityResponse {
        let request = proto::GetTrialEligibilityRequest { customer_id: None };
        let request = self.by(customer, Role::Customer, request);
        self.billing().get_trial_eligibility(request).await.unwrap().into_inner()
    }

    pub(crate) async fn count(&self, what: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {what}")))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    /// Topics of all announcements so far, in order.
    pub(crate) async fn announced(&self) -> Vec<String> {
        sqlx::query_scalar("SELECT topic FROM outbox ORDER BY id").fetch_all(&self.pool).await.unwrap()
    }
}

/// A tenant of its own: two keys of one test never meet.
pub(crate) fn access(url: &str, username: &str, password: &str) -> Access {
    let key = Uuid::new_v4().simple().to_string();
    Access {
        url: url.to_owned(),
        username: username.to_owned(),
        password: password.into(),
        api_key: format!("key-{key}"),
        api_secret: format!("secret-{key}").into(),
    }
}
