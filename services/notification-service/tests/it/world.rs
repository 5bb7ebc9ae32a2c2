//! Everything around the service: a directory of customers, the mail server, the running senders and the gRPC
//! API.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contracts::notification::v1::SendTemplateRequest;
use contracts::notification::v1::notification_service_client::NotificationServiceClient;
use contracts::services::{NOTIFICATION, USER};
use contracts::user::v1 as user;
use contracts::user::v1::customer_directory_service_server::{
    CustomerDirectoryService, CustomerDirectoryServiceServer,
};
use notification_service::app::MailQueue;
use notification_service::clients::Customers;
use notification_service::config::Smtp;
use notification_service::grpc::{Api, POLICIES, routes};
use notification_service::metrics::MailMetrics;
use notification_service::sender::{Sender, Throttle};
use notification_service::smtp::Mailer;
use notification_service::store::Rate;
use notification_service::templates::Page;
use runtime::grpc::{Allow, MethodPolicy, Needs};
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use test_kit::eventually;
use test_kit::grpc::Running;
use test_kit::identity::Keyring;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::sink::Sink;

pub(crate) const SOON: Duration = Duration::from_secs(10);

/// user-service as the tests want it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    customers: Arc<Mutex<HashMap<String, user::Customer>>>,
    away: Arc<AtomicBool>,
    erased: Arc<Mutex<Vec<Uuid>>>,
}

impl Directory {
    pub(crate) fn add(&self, email: &str, instance_mails: bool) -> Uuid {
        let id = Uuid::now_v7();
        let switches = user::NotificationSwitches { instance: instance_mails, backup: true, product: true };
        let preferences = user::Preferences { notifications: Some(switches), ..Default::default() };
        let customer = user::Customer {
            id: id.to_string(),
            email: email.into(),
            first_name: "Ada".into(),
            is_verified: true,
            preferences: Some(preferences),
            ..Default::default()
        };
        self.customers.lock().unwrap().insert(id.to_string(), customer);
        id
    }

    /// The address was never proved.
    pub(crate) fn set_unverified(&self, id: Uuid) {
        self.customers.lock().unwrap().get_mut(&id.to_string()).unwrap().is_verified = false;
    }

    /// Everybody who was ever added.
    fn known(&self) -> Vec<Uuid> {
        self.customers.lock().unwrap().keys().map(|id| id.parse().unwrap()).collect()
    }

    /// The person of this account was erased.
    pub(crate) fn erase(&self, id: Uuid) {
        self.erased.lock().unwrap().push(id);
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
        let found = self.customers.lock().unwrap().get(&request.get_ref().customer_id).cloned();
        let customer = Some(found.ok_or_else(|| Status::not_found("customer"))?);
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
        // One a page, so that a reader of the first page only is seen.
        let mut ids: Vec<String> = self.erased.lock().unwrap().iter().map(Uuid::to_string).collect();
        ids.sort();
        let next = ids.into_iter().find(|id| *id > request.get_ref().after);
        let customers =
            next.into_iter().map(|customer_id| user::ErasedCustomer { customer_id, erased_at: None });
        Ok(Response::new(user::ListErasedCustomersResponse { customers: customers.collect() }))
    }
}

const DIRECTORY_POLICIES: &[MethodPolicy] = &[
    MethodPolicy {
        method: "/saasodoo.user.v1.CustomerDirectoryService/GetCustomer",
        allow: &[Allow { caller: NOTIFICATION, needs: Needs::Nothing }],
    },
    MethodPolicy {
        method: "/saasodoo.user.v1.CustomerDirectoryService/ListErasedCustomers",
        allow: &[Allow { caller: NOTIFICATION, needs: Needs::Nothing }],
    },
];

/// Settings of a mail server on this machine; retries come at once.
pub(crate) fn smtp(port: u16) -> Smtp {
    Smtp {
        smtp_host: "127.0.0.1".into(),
        smtp_port: port,
        smtp_use_tls: false,
        smtp_use_ssl: false,
        smtp_ca_file: None,
        smtp_timeout: 5,
        smtp_username: None,
        smtp_password: None,
        smtp_retry_base_seconds: 1,
        smtp_connections: 2,
    }
}

pub(crate) fn mailer(smtp: &Smtp) -> Mailer {
    let from = "SaaSOdoo <noreply@saasodoo.example>".parse().unwrap();
    Mailer::try_new(smtp, from, "https://app.example.com").unwrap()
}

pub(crate) struct World {
    pub(crate) pool: PgPool,
    pub(crate) directory: Directory,
    pub(crate) queue: MailQueue,
    pub(crate) api: Running,
    pub(crate) customers: Customers,
    smtp: Smtp,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    /// The API without senders.
    pub(crate) async fn start(pool: &PgPool, port: u16) -> Self {
        let keys = Keyring::new();
        let directory = Directory::default();
        let mut parts = Routes::builder();
        parts.add_service(CustomerDirectoryServiceServer::new(directory.clone()));
        let users = test_kit::grpc::serve(USER, DIRECTORY_POLICIES, &keys, parts.routes()).await;
        let smtp = smtp(port);
        let queue = MailQueue {
            page: Page { brand: "SaaSOdoo".into(), frontend_url: "https://app.example.com".into() },
            mail_domain: "saasodoo.example".into(),
        };
        let api = Api { pool: pool.clone(), queue: queue.clone(), mailer: mailer(&smtp) };
        let api = test_kit::grpc::serve(NOTIFICATION, POLICIES, &keys, routes(&api)).await;
        let customers = Customers::try_new(&keys.dialer(NOTIFICATION), &users.url).unwrap();
        Self { pool: pool.clone(), directory, queue, api, customers, smtp, stop: CancellationToken::new() }
    }

    /// Runs one process' senders until the returned token or the world ends.
    pub(crate) fn run_sender(&self, per_minute: i64) -> CancellationToken {
        let throttle = Throttle {
            rate: Rate { per_minute, per_hour: 10_000 },
            at_once: 2,
            retry_base: time::Duration::milliseconds(200),
            lease: Duration::from_secs(25),
        };
        let (customers, page) = (self.customers.clone(), self.queue.page.clone());
        let metrics = MailMetrics::new(&Metrics::new());
        let sender = Sender::new(&self.pool, customers, mailer(&self.smtp), page, throttle, metrics);
        let stop = self.stop.child_token();
        tokio::spawn(sender.run(stop.clone()));
        stop
    }

    /// Orders a mail in the name of user-service.
    pub(crate) async fn order(
        &self,
        customer: Uuid,
        template: &str,
        key: &str,
        variables: &str,
    ) -> Result<String, Status> {
        let request = SendTemplateRequest {
            dedupe_key: key.into(),
            customer_id: customer.to_string(),
            template_name: template.into(),
            variables_json: variables.into(),
        };
        let answer = NotificationServiceClient::new(self.api.channel_as(USER)).send_template(request).await?;
        Ok(answer.into_inner().email_id)
    }

    /// Waits until `count` mails have the status.
    pub(crate) async fn reach(&self, status: &str, count: i64) {
        eventually(&format!("{count} mails {status}"), SOON, || async {
            (self.count(status).await == count).then_some(())
        })
        .await;
    }

    /// Mails to customers of this test; the broker is shared, and facts on others' customers arrive here too.
    pub(crate) async fn count(&self, status: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM emails WHERE status = $1 AND customer_id = ANY($2)")
            .bind(status)
            .bind(self.directory.known())
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}

/// The world with a kind mail server and running senders.
pub(crate) async fn running(pool: &PgPool) -> (World, Sink) {
    let sink = Sink::start().await;
    let world = World::start(pool, sink.port).await;
    world.run_sender(1000);
    (world, sink)
}
