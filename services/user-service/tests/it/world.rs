//! One platform of a test: the service, its neighbours, its people.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::billing::v1::billing_directory_service_server::{
    BillingDirectoryService, BillingDirectoryServiceServer,
};
use contracts::billing::v1::{GetCustomerStandingRequest, GetCustomerStandingResponse};
use contracts::instance::v1::instance_directory_service_server::{
    InstanceDirectoryService, InstanceDirectoryServiceServer,
};
use contracts::instance::v1::{
    CountInstancesRequest, CountInstancesResponse, FindBySubscriptionRequest, FindBySubscriptionResponse,
    GetStorageUsageRequest, GetStorageUsageResponse, ListLiveRequest, ListLiveResponse, TerminateAllRequest,
    TerminateAllResponse,
};
use contracts::notification::v1::notification_service_server::{
    NotificationService, NotificationServiceServer,
};
use contracts::notification::v1::{SendTemplateRequest, SendTemplateResponse};
use contracts::services::{BILLING, GATEWAY, INSTANCE, NOTIFICATION, USER};
use contracts::user::v1::account_service_client::AccountServiceClient;
use contracts::user::v1::auth_service_client::AuthServiceClient;
use contracts::user::v1::user_admin_service_client::UserAdminServiceClient;
use contracts::user::v1::{
    CheckSessionRequest, LoginRequest, LoginResponse, RegisterRequest, VerifyEmailRequest,
};
use runtime::config::Environment;
use runtime::grpc::{Allow, Authenticated, MethodPolicy, Needs, Refusal, on_behalf_of};
use runtime::identity::Role;
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use test_kit::eventually;
use test_kit::grpc::Running;
use test_kit::identity::Keyring;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use user_service::app::{App, Wake};
use user_service::clients::Clients;
use user_service::config::Rules;
use user_service::guard::LoginGuard;
use user_service::metrics::UserMetrics;
use user_service::passwords::{Cost, Passwords};
use user_service::tokens::AccessSigner;
use user_service::{background, grpc};
use uuid::Uuid;

/// A password that satisfies the rule.
pub const PASSWORD: &str = "Correct-Horse-7";
/// Longest wait for something that happens in the background.
pub const SOON: Duration = Duration::from_secs(15);
/// Far less than a running service uses, so that tests are fast.
const CHEAP: Cost = Cost { memory_kib: 64, passes: 1 };

/// What the neighbours were asked and shall answer.
#[derive(Debug, Default)]
pub struct Neighbours {
    pub mails: Mutex<Vec<SendTemplateRequest>>,
    pub mail_away: AtomicBool,
    /// Takes the mail, but the answer is lost.
    pub mail_answer_lost: AtomicBool,
    pub directory_away: AtomicBool,
    pub instances: Mutex<HashMap<String, u32>>,
    pub terminated: Mutex<Vec<String>>,
    pub standing: Mutex<GetCustomerStandingResponse>,
    pub billing_calls: AtomicU32,
}

#[derive(Debug, Clone)]
struct Fake(Arc<Neighbours>);

fn away() -> Status {
    Status::unavailable("away")
}

#[tonic::async_trait]
impl NotificationService for Fake {
    async fn send_template(
        &self,
        request: Request<SendTemplateRequest>,
    ) -> Result<Response<SendTemplateResponse>, Status> {
        if self.0.mail_away.load(Ordering::SeqCst) {
            return Err(away());
        }
        let mail = request.into_inner();
        let mut mails = self.0.mails.lock().unwrap();
        if !mails.iter().any(|sent| sent.dedupe_key == mail.dedupe_key) {
            mails.push(mail);
        }
        if self.0.mail_answer_lost.swap(false, Ordering::SeqCst) {
            return Err(Status::deadline_exceeded("lost"));
        }
        Ok(Response::new(SendTemplateResponse::default()))
    }
}

#[tonic::async_trait]
impl InstanceDirectoryService for Fake {
    async fn count_instances(
        &self,
        request: Request<CountInstancesRequest>,
    ) -> Result<Response<CountInstancesResponse>, Status> {
        if self.0.directory_away.load(Ordering::SeqCst) {
            return Err(away());
        }
        let mut counts = self.0.instances.lock().unwrap().clone();
        counts.retain(|id, _| request.get_ref().customer_ids.contains(id));
        Ok(Response::new(CountInstancesResponse { counts }))
    }

    async fn terminate_all(
        &self,
        request: Request<TerminateAllRequest>,
    ) -> Result<Response<TerminateAllResponse>, Status> {
        if self.0.directory_away.load(Ordering::SeqCst) {
            return Err(away());
        }
        self.0.terminated.lock().unwrap().push(request.into_inner().customer_id);
        Ok(Response::new(TerminateAllResponse { count: 1 }))
    }

    async fn find_by_subscription(
        &self,
        _: Request<FindBySubscriptionRequest>,
    ) -> Result<Response<FindBySubscriptionResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn get_storage_usage(
        &self,
        _: Request<GetStorageUsageRequest>,
    ) -> Result<Response<GetStorageUsageResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_live(&self, _: Request<ListLiveRequest>) -> Result<Response<ListLiveResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

#[tonic::async_trait]
impl BillingDirectoryService for Fake {
    async fn get_customer_standing(
        &self,
        _: Request<GetCustomerStandingRequest>,
    ) -> Result<Response<GetCustomerStandingResponse>, Status> {
        self.0.billing_calls.fetch_add(1, Ordering::SeqCst);
        if self.0.directory_away.load(Ordering::SeqCst) {
            return Err(away());
        }
        Ok(Response::new(self.0.standing.lock().unwrap().clone()))
    }
}

const FROM_US: &[Allow] = &[Allow { caller: USER, needs: Needs::Nothing }];
const NEIGHBOUR_POLICIES: &[MethodPolicy] = &[
    MethodPolicy { method: "/saasodoo.notification.v1.NotificationService/SendTemplate", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceDirectoryService/CountInstances", allow: FROM_US },
    MethodPolicy { method: "/saasodoo.instance.v1.InstanceDirectoryService/TerminateAll", allow: FROM_US },
    MethodPolicy {
        method: "/saasodoo.billing.v1.BillingDirectoryService/GetCustomerStanding",
        allow: FROM_US,
    },
];

/// A running platform.
pub struct World {
    pub pool: PgPool,
    pub app: App,
    pub server: Running,
    pub neighbours: Arc<Neighbours>,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A signed-in person.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: Uuid,
    pub email: String,
    pub access: String,
    pub refresh: String,
}

/// Settings of most tests.
pub fn rules() -> Rules {
    Rules {
        jwt_expire_minutes: 60,
        session_timeout: 0,
        max_sessions_per_user: 20,
        account_erasure_days: 30,
        login_max_failures: 5,
        login_max_failures_per_address: 1000,
        redis_key_prefix: format!("test:{}", Uuid::now_v7().simple()),
    }
}

impl World {
    pub async fn new(pool: &PgPool) -> Self {
        Self::with(pool, rules()).await
    }

    pub async fn with(pool: &PgPool, rules: Rules) -> Self {
        Self::with_redis(pool, rules, &test_kit::environment::redis_url()).await
    }

    pub async fn with_redis(pool: &PgPool, rules: Rules, redis_url: &str) -> Self {
        let keys = Keyring::new();
        let neighbours = Arc::new(Neighbours::default());
        let fake = Fake(Arc::clone(&neighbours));
        let mut urls = Vec::new();
        for name in [INSTANCE, BILLING, NOTIFICATION] {
            let routes = Routes::new(NotificationServiceServer::new(fake.clone()))
                .add_service(InstanceDirectoryServiceServer::new(fake.clone()))
                .add_service(BillingDirectoryServiceServer::new(fake.clone()));
            urls.push(test_kit::grpc::serve(name, NEIGHBOUR_POLICIES, &keys, routes).await.url);
        }
        let client = redis::Client::open(redis_url).unwrap();
        let (signer, _) =
            AccessSigner::try_new(&keys.users, None, Environment::Development, rules.access_life()).unwrap();
        let app = App {
            pool: pool.clone(),
            passwords: Passwords::try_new(CHEAP).unwrap(),
            guard: LoginGuard::try_new(
                client,
                &rules.redis_key_prefix,
                rules.login_max_failures,
                rules.login_max_failures_per_address,
            )
            .unwrap(),
            signer,
            clients: Clients::try_new(&keys.dialer(USER), &urls[0], &urls[1], &urls[2]).unwrap(),
            rules: Arc::new(rules),
            metrics: UserMetrics::new(&Metrics::new()),
            wake: Arc::new(Wake::default()),
        };
        let server = test_kit::grpc::serve(USER, grpc::POLICIES, &keys, grpc::routes(&app)).await;
        let stop = CancellationToken::new();
        tokio::spawn(background::mails(app.clone(), stop.clone()));
        tokio::spawn(background::closures(app.clone(), stop.clone()));
        Self { pool: pool.clone(), app, server, neighbours, stop }
    }

    pub fn auth(&self) -> AuthServiceClient<Authenticated> {
        AuthServiceClient::new(self.server.channel_as(GATEWAY))
    }

    pub fn account(&self) -> AccountServiceClient<Authenticated> {
        AccountServiceClient::new(self.server.channel_as(GATEWAY))
    }

    pub fn admin(&self) -> UserAdminServiceClient<Authenticated> {
        UserAdminServiceClient::new(self.server.channel_as(GATEWAY))
    }

    /// Registers; the id of the answer.
    pub async fn register(&self, email: &str) -> Uuid {
        let answer = self.auth().register(registration(email)).await.unwrap().into_inner();
        answer.customer_id.parse().unwrap()
    }

    /// Tries to sign in from an address.
    pub async fn login_from(&self, ip: &str, email: &str, password: &str) -> Result<LoginResponse, Status> {
        let body = LoginRequest {
            email: email.into(),
            password: password.into(),
            remember_me: false,
            user_agent: "test/1".into(),
        };
        let ip: IpAddr = ip.parse().unwrap();
        let request = on_behalf_of(body, None, "request-1", Some(ip));
        Ok(self.auth().login(request).await?.into_inner())
    }

    pub async fn login(&self, email: &str, password: &str) -> Result<LoginResponse, Status> {
        self.login_from("192.0.2.1", email, password).await
    }

    /// A verified person of a role, signed in.
    pub async fn person(&self, role: Role) -> Person {
        let email = format!("{}@example.com", Uuid::now_v7().simple());
        let id = self.register(&email).await;
        sqlx::query("UPDATE users SET verified_at = now(), role = $2 WHERE id = $1")
            .bind(id)
            .bind(role.as_str())
            .execute(&self.pool)
            .await
            .unwrap();
        self.sign_in(id, &email).await
    }

    /// Another session of a person.
    pub async fn sign_in(&self, id: Uuid, email: &str) -> Person {
        let tokens = self.login(email, PASSWORD).await.unwrap().tokens.unwrap();
        Person { id, email: email.into(), access: tokens.access_token, refresh: tokens.refresh_token }
    }

    /// Is the session of this access token live?
    pub async fn is_live(&self, access: &str) -> bool {
        let session = self.server.keys.user_verifier().verify(access).unwrap().session;
        let request = CheckSessionRequest { session_id: session.to_string() };
        self.auth().check_session(request).await.unwrap().into_inner().live
    }

    /// Mails of a template to a customer, oldest first.
    pub fn mails(&self, customer: Uuid, template: &str) -> Vec<SendTemplateRequest> {
        let mails = self.neighbours.mails.lock().unwrap();
        let wanted = |mail: &&SendTemplateRequest| {
            mail.customer_id == customer.to_string() && mail.template_name == template
        };
        mails.iter().filter(wanted).cloned().collect()
    }

    /// The token in the `nth` mail (from 1) of a template to a customer, as soon as it is there.
    pub async fn mailed_token(&self, customer: Uuid, template: &str, nth: usize) -> String {
        let mail = eventually("a mail with a token", SOON, || async {
            self.mails(customer, template).get(nth - 1).cloned()
        })
        .await;
        token_of(&mail)
    }

    /// Waits until the service knows that all mails are sent.
    pub async fn mails_settled(&self) {
        eventually("all mails are sent", SOON, || async {
            let waiting: i64 = self.count("SELECT count(*) FROM mail_requests WHERE state = 'pending'").await;
            (waiting == 0).then_some(())
        })
        .await;
    }

    pub async fn verify(&self, token: &str) -> Result<(), Status> {
        self.auth().verify_email(VerifyEmailRequest { token: token.into() }).await.map(drop)
    }

    /// A count of a statement of the test.
    pub async fn count(&self, statement: &'static str) -> i64 {
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }

    /// Runs a statement of the test with an id.
    pub async fn run(&self, statement: &'static str, id: Uuid) {
        sqlx::query(statement).bind(id).execute(&self.pool).await.unwrap();
    }

    /// Topics announced about an account, in order.
    pub async fn events(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT topic FROM outbox WHERE aggregate_id = $1 ORDER BY id")
            .bind(id)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    /// Actions in the audit log about an account, in order.
    pub async fn audited(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT action FROM audit WHERE customer_id = $1 ORDER BY id")
            .bind(id)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}

impl Person {
    /// A request in the name of this person.
    pub fn asks<T>(&self, message: T) -> Request<T> {
        on_behalf_of(message, Some(&self.access), "request-2", Some("198.51.100.7".parse().unwrap()))
    }
}

/// A registration with the needed fields.
pub fn registration(email: &str) -> RegisterRequest {
    RegisterRequest {
        email: email.into(),
        password: PASSWORD.into(),
        first_name: "Ada".into(),
        last_name: "Test".into(),
        accept_terms: true,
        ..RegisterRequest::default()
    }
}

/// Variables of a mail.
pub fn variables(mail: &SendTemplateRequest) -> serde_json::Value {
    serde_json::from_str(&mail.variables_json).unwrap()
}

pub fn token_of(mail: &SendTemplateRequest) -> String {
    variables(mail)["token"].as_str().unwrap().to_owned()
}

/// The reason word of a refusal.
pub fn reason(status: &Status) -> String {
    Refusal::from_status(status).reason
}

/// The fields that a refusal names.
pub fn fields(status: &Status) -> Vec<String> {
    Refusal::from_status(status).fields.into_iter().map(|violation| violation.field).collect()
}
