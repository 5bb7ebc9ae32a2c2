//! Billing, accounts and the worker as small servers on port 0. Each remembers what it was asked, and does
//! what the test tells it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contracts::billing::v1::catalog_service_server::{CatalogService, CatalogServiceServer};
use contracts::billing::v1::order_service_server::{OrderService, OrderServiceServer};
use contracts::billing::v1::{
    CancelOrderRequest, CancelOrderResponse, GetEntitlementRequest, GetEntitlementResponse,
    GetEntitlementsRequest, GetEntitlementsResponse, GetPlanRequest, GetPlanResponse, Limits,
    ListPlansRequest, ListPlansResponse, PlaceOrderRequest, PlaceOrderResponse, Plan, Subscription,
    SubscriptionEntitlement,
};
use contracts::services::{BILLING, INSTANCE, USER, WORKER};
use contracts::user::v1::customer_directory_service_server::{
    CustomerDirectoryService, CustomerDirectoryServiceServer,
};
use contracts::user::v1::{
    BatchGetCustomersRequest, BatchGetCustomersResponse, Customer, ErasedCustomer, GetCustomerRequest,
    GetCustomerResponse, ListErasedCustomersRequest, ListErasedCustomersResponse,
};
use contracts::worker::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use contracts::worker::v1::{
    ClusterDifference, CompareClusterRequest, CompareClusterResponse, GetAdminPasswordRequest,
    GetAdminPasswordResponse, GetPodLogsRequest, GetPodLogsResponse, MeasureStorageRequest,
    MeasureStorageResponse, PodLogLine, ProbeInstanceRequest, ProbeInstanceResponse,
};
use runtime::grpc::{Allow, MethodPolicy, Needs, Refusal};
use test_kit::grpc::{Running, serve};
use test_kit::identity::Keyring;
use tonic::service::Routes;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

const FROM_US: &[Allow] = &[Allow { caller: INSTANCE, needs: Needs::Nothing }];
const BILLING_POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.billing.v1.CatalogService/GetPlan", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/PlaceOrder", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/ReactivateOrder", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/CancelOrder", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/GetEntitlement", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.billing.v1.OrderService/GetEntitlements", allow: FROM_US },
];
const USER_POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.user.v1.CustomerDirectoryService/GetCustomer", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.user.v1.CustomerDirectoryService/ListErasedCustomers", allow: FROM_US },
];
const WORKER_POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/GetPodLogs", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/ProbeInstance", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/GetAdminPassword", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/CompareCluster", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.worker.v1.WorkerService/MeasureStorage", allow: FROM_US },
];

/// What the fakes were asked and what they shall answer.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a test")]
pub struct State {
    /// Orders that were placed.
    pub placed: Vec<PlaceOrderRequest>,
    /// Instances whose orders were taken back.
    pub cancelled: Vec<String>,
    /// Calls of GetPlan.
    pub plan_calls: usize,
    /// Orders wait for a payment.
    pub wait_for_payment: bool,
    /// Subscription of every order from now on.
    pub subscription: Option<Uuid>,
    /// Quota of every account.
    pub max_instances: Option<u32>,
    /// Billing says that the subscription may run.
    pub may_run: bool,
    /// Billing says that the subscription ended.
    pub ended: bool,
    /// Billing does not answer.
    pub billing_away: bool,
    /// Plan of the entitlement; basic-monthly else.
    pub entitled_plan: Option<&'static str>,
    /// Pages of entitlements that were asked for.
    pub pages: usize,
    /// Persons whom user-service has erased.
    pub erased: Vec<Uuid>,
    /// The worker refuses to give the password.
    pub no_password: bool,
    /// How often the password was given.
    pub passwords_given: usize,
    /// The worker answers probes only after this time.
    pub probe_delay: Option<std::time::Duration>,
    /// Instances have no pod.
    pub no_pod: bool,
    /// What a comparison with the cluster gives.
    pub differences: Vec<ClusterDifference>,
}

/// All fakes of a test.
#[derive(Debug, Clone)]
pub struct Fakes {
    state: Arc<Mutex<State>>,
    pub billing_url: String,
    pub user_url: String,
    pub worker_url: String,
}

#[derive(Debug, Clone)]
struct Fake(Arc<Mutex<State>>);

impl Fake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fakes {
    pub async fn start(keys: &Keyring) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let fake = Fake(Arc::clone(&state));
        let billing = Routes::new(CatalogServiceServer::new(fake.clone()))
            .add_service(OrderServiceServer::new(fake.clone()));
        let user = Routes::new(CustomerDirectoryServiceServer::new(fake.clone()));
        let worker = Routes::new(WorkerServiceServer::new(fake));
        let Running { url: billing_url, .. } = serve(BILLING, BILLING_POLICIES, keys, billing).await;
        let Running { url: user_url, .. } = serve(USER, USER_POLICIES, keys, user).await;
        let Running { url: worker_url, .. } = serve(WORKER, WORKER_POLICIES, keys, worker).await;
        Self { state, billing_url, user_url, worker_url }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plans that are sold here, and one that is not any more.
fn plan(name: &str) -> Option<Plan> {
    let (tier, db_tier, db_type, cpu, memory, storage, available) = match name {
        "basic-monthly" => ("basic", "starter", "shared", 1000, 2048, 10 * 1024, true),
        "premium-monthly" => ("premium", "premium", "dedicated", 4000, 8192, 50 * 1024, true),
        "free-monthly" => ("basic", "starter", "shared", 0, 0, 0, true),
        "old-monthly" => ("basic", "starter", "shared", 1000, 2048, 10 * 1024, false),
        _ => return None,
    };
    Some(Plan {
        name: name.to_owned(),
        tier: tier.to_owned(),
        db_tier: db_tier.to_owned(),
        db_type: db_type.to_owned(),
        available,
        limits: Some(Limits { cpu_millis: cpu, memory_mib: memory, storage_mib: storage }),
        ..Plan::default()
    })
}

#[tonic::async_trait]
impl CatalogService for Fake {
    async fn list_plans(&self, _: Request<ListPlansRequest>) -> Result<Response<ListPlansResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn get_plan(&self, request: Request<GetPlanRequest>) -> Result<Response<GetPlanResponse>, Status> {
        self.state().plan_calls += 1;
        let plan = plan(&request.get_ref().name).ok_or_else(|| Status::from(Refusal::not_found("plan")))?;
        Ok(Response::new(GetPlanResponse { plan: Some(plan) }))
    }
}

#[tonic::async_trait]
impl OrderService for Fake {
    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state();
        let id = state.subscription.unwrap_or_else(Uuid::now_v7);
        let provision_now = !state.wait_for_payment;
        let answer = PlaceOrderResponse {
            subscription: Some(Subscription {
                id: id.to_string(),
                customer_id: request.customer_id.clone(),
                instance_id: request.instance_id.clone(),
                ..Subscription::default()
            }),
            plan: plan(&request.plan_name),
            billing_status: if provision_now { "trial" } else { "payment_required" }.to_owned(),
            provision_now,
            ..PlaceOrderResponse::default()
        };
        state.placed.push(request);
        Ok(Response::new(answer))
    }

    async fn reactivate_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        self.place_order(request).await
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        self.state().cancelled.push(request.into_inner().instance_id);
        Ok(Response::new(CancelOrderResponse {}))
    }

    async fn get_entitlement(
        &self,
        _: Request<GetEntitlementRequest>,
    ) -> Result<Response<GetEntitlementResponse>, Status> {
        let state = self.state();
        if state.billing_away {
            return Err(Status::unavailable("billing is away"));
        }
        let (billing_status, reason, cause) = match (state.may_run, state.ended) {
            (true, _) => ("paid", "", ""),
            (false, true) => ("closed", "subscription_ended", "cancelled"),
            (false, false) => ("payment_required", "payment_required", "overdue"),
        };
        Ok(Response::new(GetEntitlementResponse {
            may_run: state.may_run,
            billing_status: billing_status.to_owned(),
            plan: plan(state.entitled_plan.unwrap_or("basic-monthly")),
            reason: reason.to_owned(),
            cause: cause.to_owned(),
        }))
    }

    async fn get_entitlements(
        &self,
        request: Request<GetEntitlementsRequest>,
    ) -> Result<Response<GetEntitlementsResponse>, Status> {
        self.state().pages += 1;
        let mut answer = GetEntitlementsResponse::default();
        for subscription_id in request.into_inner().subscription_ids {
            let asked = GetEntitlementRequest { subscription_id: subscription_id.clone() };
            let entitlement = Some(self.get_entitlement(Request::new(asked)).await?.into_inner());
            answer.entitlements.push(SubscriptionEntitlement { subscription_id, entitlement });
        }
        Ok(Response::new(answer))
    }
}

#[tonic::async_trait]
impl CustomerDirectoryService for Fake {
    async fn get_customer(
        &self,
        request: Request<GetCustomerRequest>,
    ) -> Result<Response<GetCustomerResponse>, Status> {
        let id = request.into_inner().customer_id;
        if id == Uuid::nil().to_string() {
            return Err(Refusal::not_found("customer").into());
        }
        let customer = Customer {
            email: "owner@example.org".to_owned(),
            is_verified: true,
            is_active: true,
            role: "customer".to_owned(),
            max_instances: self.state().max_instances,
            id,
            ..Customer::default()
        };
        Ok(Response::new(GetCustomerResponse { customer: Some(customer) }))
    }

    async fn batch_get_customers(
        &self,
        _: Request<BatchGetCustomersRequest>,
    ) -> Result<Response<BatchGetCustomersResponse>, Status> {
        Err(Status::unimplemented("not asked for here"))
    }

    async fn list_erased_customers(
        &self,
        request: Request<ListErasedCustomersRequest>,
    ) -> Result<Response<ListErasedCustomersResponse>, Status> {
        let after = Uuid::parse_str(&request.get_ref().after).ok();
        let mut erased = self.state().erased.clone();
        erased.sort_unstable();
        // One a page.
        let next = erased.into_iter().find(|id| after.is_none_or(|after| *id > after));
        let customers = next.map(|id| ErasedCustomer { customer_id: id.to_string(), erased_at: None });
        Ok(Response::new(ListErasedCustomersResponse { customers: customers.into_iter().collect() }))
    }
}

#[tonic::async_trait]
impl WorkerService for Fake {
    async fn get_pod_logs(
        &self,
        request: Request<GetPodLogsRequest>,
    ) -> Result<Response<GetPodLogsResponse>, Status> {
        if self.state().no_pod {
            return Err(Refusal::new(Code::FailedPrecondition, "no_pod", "no pod").into());
        }
        let line =
            |number: u32| PodLogLine { time: "2026-01-01T00:00:00Z".into(), text: format!("line {number}") };
        let lines = (0..request.get_ref().lines).map(line).collect();
        Ok(Response::new(GetPodLogsResponse { lines }))
    }

    async fn probe_instance(
        &self,
        _: Request<ProbeInstanceRequest>,
    ) -> Result<Response<ProbeInstanceResponse>, Status> {
        let delay = self.state().probe_delay;
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        Ok(Response::new(ProbeInstanceResponse { at: None, ok: true, latency_ms: 7 }))
    }

    async fn get_admin_password(
        &self,
        _: Request<GetAdminPasswordRequest>,
    ) -> Result<Response<GetAdminPasswordResponse>, Status> {
        let mut state = self.state();
        if state.no_password {
            return Err(Status::unavailable("the API server is away"));
        }
        state.passwords_given += 1;
        Ok(Response::new(GetAdminPasswordResponse {
            admin_email: "owner@example.org".to_owned(),
            admin_password: "a-generated-password-1".to_owned(),
        }))
    }

    async fn measure_storage(
        &self,
        _: Request<MeasureStorageRequest>,
    ) -> Result<Response<MeasureStorageResponse>, Status> {
        if self.state().no_pod {
            return Err(Refusal::new(Code::FailedPrecondition, "no_pod", "no pod").into());
        }
        Ok(Response::new(MeasureStorageResponse { used_bytes: 5 << 20, at: None }))
    }

    async fn compare_cluster(
        &self,
        _: Request<CompareClusterRequest>,
    ) -> Result<Response<CompareClusterResponse>, Status> {
        Ok(Response::new(CompareClusterResponse { differences: self.state().differences.clone() }))
    }
}
