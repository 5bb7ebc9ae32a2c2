//! A running service of a test, callers, and the little of the worker that moves rows on.

use std::collections::HashMap;
use std::sync::Arc;

use contracts::instance::v1 as wire;
use contracts::instance::v1::instance_admin_service_client::InstanceAdminServiceClient;
use contracts::instance::v1::instance_directory_service_client::InstanceDirectoryServiceClient;
use contracts::instance::v1::instance_service_client::InstanceServiceClient;
use contracts::services::{GATEWAY, INSTANCE};
use instance::domain::{Addresses, Event, Limits, SubdomainRules, transition};
use instance::store::{Scope, instances};
use instance_service::app::App;
use instance_service::clients::billing::Billing;
use instance_service::clients::users::Customers;
use instance_service::clients::worker::Worker;
use instance_service::config::Streams;
use instance_service::grpc;
use instance_service::metrics::SweepMetrics;
use instance_service::rules::Rules;
use instance_service::wakeups::Wakeups;
use runtime::grpc::{Authenticated, Refusal, on_behalf_of, relayed_for};
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::grpc::{Running, serve};
use test_kit::identity::Keyring;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::fakes::Fakes;

/// Everything of one test.
pub struct World {
    pub app: App,
    pub pool: PgPool,
    pub fakes: Fakes,
    pub server: Running,
    pub stop: CancellationToken,
}

/// Somebody who calls through the gateway.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: Uuid,
    token: String,
}

impl Person {
    pub fn ask<T>(&self, message: T) -> Request<T> {
        on_behalf_of(message, Some(&self.token), "request-1", Some(std::net::Ipv4Addr::LOCALHOST.into()))
    }
}

/// A service that calls through the gateway.
#[derive(Debug, Clone)]
pub struct Script {
    token: String,
}

impl Script {
    pub fn ask<T>(&self, message: T) -> Request<T> {
        relayed_for(message, &self.token, "request-1", Some(std::net::Ipv4Addr::LOCALHOST.into()))
    }
}

pub fn rules() -> Rules {
    Rules {
        addresses: Addresses {
            base_domain: "example.org".into(),
            public_port: 8081,
            tls: false,
            namespace: "odoo-instances".into(),
        },
        odoo_versions: vec!["16".into(), "17".into(), "18".into()],
        default_odoo_version: "17".into(),
        default_plan: "basic-monthly".into(),
        fallback: Limits { cpu_millis: 1000, memory_mib: 2048, storage_mib: 10240 },
        max_instances: 20,
        max_kept: 50,
        subdomains: SubdomainRules::new(["shop"]),
        retention: time::Duration::days(30),
    }
}

impl World {
    pub async fn start(pool: PgPool) -> Self {
        let keys = Keyring::new();
        let fakes = Fakes::start(&keys).await;
        let dialer = keys.dialer(INSTANCE);
        let stop = CancellationToken::new();
        let streams = Streams { max_streams_per_account: 3, max_streams: 5 };
        let wakeups = Wakeups::new(&streams, stop.clone());
        let app = App {
            pool: pool.clone(),
            rules: Arc::new(rules()),
            billing: Billing::try_new(&dialer, &fakes.billing_url).unwrap(),
            customers: Customers::try_new(&dialer, &fakes.user_url).unwrap(),
            worker: Worker::try_new(&dialer, &fakes.worker_url).unwrap(),
            metrics: SweepMetrics::default(),
            wakeups,
        };
        let server = serve(INSTANCE, grpc::POLICIES, &keys, grpc::routes(&app)).await;
        Self { app, pool, fakes, server, stop }
    }

    pub fn person(&self, role: Role) -> Person {
        let id = Uuid::now_v7();
        Person { id, token: self.server.keys.user_token(id, role) }
    }

    pub fn service(&self, name: &str) -> Script {
        Script { token: self.server.keys.service_token(name, GATEWAY, 300) }
    }

    pub fn customer(&self) -> Person {
        self.person(Role::Customer)
    }

    pub fn client(&self) -> InstanceServiceClient<Authenticated> {
        InstanceServiceClient::new(self.server.channel())
    }

    pub fn admin_client(&self) -> InstanceAdminServiceClient<Authenticated> {
        InstanceAdminServiceClient::new(self.server.channel())
    }

    pub fn directory_as(&self, service: &'static str) -> InstanceDirectoryServiceClient<Authenticated> {
        InstanceDirectoryServiceClient::new(self.server.channel_as(service))
    }

    pub async fn try_create(
        &self,
        person: &Person,
        order: wire::CreateInstanceRequest,
    ) -> Result<wire::CreateInstanceResponse, Status> {
        Ok(self.client().create_instance(person.ask(order)).await?.into_inner())
    }

    /// A new instance, still `creating`.
    pub async fn create(&self, person: &Person, name: &str) -> wire::Instance {
        self.try_create(person, order(name)).await.unwrap().instance.unwrap()
    }

    /// A new instance that runs.
    pub async fn running(&self, person: &Person, name: &str) -> wire::Instance {
        let instance = self.create(person, name).await;
        self.finish(&instance.id).await;
        self.get(person, &instance.id).await
    }

    pub async fn get(&self, person: &Person, id: &str) -> wire::Instance {
        let request = wire::GetInstanceRequest { instance_id: id.to_owned() };
        self.client().get_instance(person.ask(request)).await.unwrap().into_inner().instance.unwrap()
    }

    pub async fn try_act(
        &self,
        person: &Person,
        request: wire::ActOnInstanceRequest,
    ) -> Result<wire::ActOnInstanceResponse, Status> {
        Ok(self.client().act_on_instance(person.ask(request)).await?.into_inner())
    }

    pub async fn act(&self, person: &Person, id: &str, action: &str) -> wire::ActOnInstanceResponse {
        self.try_act(person, wish(id, action)).await.unwrap()
    }

    pub async fn operation(&self, person: &Person, instance: &str, id: &str) -> wire::Operation {
        let request =
            wire::GetOperationRequest { instance_id: instance.to_owned(), operation_id: id.to_owned() };
        self.client().get_operation(person.ask(request)).await.unwrap().into_inner().operation.unwrap()
    }

    /// Ends the active operation as wanted, in one transaction, as the worker does (INS-20).
    pub async fn finish(&self, id: &str) {
        self.end(id, "succeeded").await;
    }

    /// Ends the active operation without its aim.
    pub async fn fail(&self, id: &str) {
        self.end(id, "failed").await;
    }

    async fn end(&self, id: &str, state: &str) {
        let id = Uuid::parse_str(id).unwrap();
        let mut tx = self.pool.begin().await.unwrap();
        let found = instances::find(&mut tx, id, Scope::All).await.unwrap().unwrap();
        let operation = found.current.expect("an active operation");
        let event = if state == "succeeded" {
            Event::Succeeded(operation.kind, found.instance.desired_state)
        } else {
            Event::Failed(operation.kind)
        };
        let status = transition(found.instance.status, event).unwrap();
        let done = state == "succeeded" && operation.kind == instance::domain::OperationKind::Create;
        sqlx::query(
            "UPDATE instances SET status = $2, observed_generation = generation, version = version + 1,
                 provisioning_status = CASE WHEN $3 THEN 'completed' ELSE provisioning_status END,
                 error_reason = CASE WHEN $2 = 'error' THEN 'broken' END, error_message = CASE WHEN $2 = 'error' THEN 'it broke' END
             WHERE id = $1",
        )
        .bind(id)
        .bind(status.as_str())
        .bind(done)
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query("UPDATE operations SET state = $2, progress = 100, finished_at = now(), attempts = 1 WHERE id = $1")
            .bind(operation.id)
            .bind(state)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// One value of the database.
    pub async fn scalar<T>(&self, sql: &'static str, id: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql).bind(Uuid::parse_str(id).unwrap()).fetch_one(&self.pool).await.unwrap()
    }

    /// Runs a statement with one id.
    pub async fn sql(&self, sql: &'static str, id: &str) {
        sqlx::query(sql).bind(Uuid::parse_str(id).unwrap()).execute(&self.pool).await.unwrap();
    }
}

pub fn order(name: &str) -> wire::CreateInstanceRequest {
    wire::CreateInstanceRequest { name: name.to_owned(), labels: HashMap::new(), ..Default::default() }
}

pub fn wish(id: &str, action: &str) -> wire::ActOnInstanceRequest {
    wire::ActOnInstanceRequest { instance_id: id.to_owned(), action: action.to_owned(), ..Default::default() }
}

/// The code and reason of a refused call.
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (Code, String) {
    let refusal = refusal(outcome);
    (refusal.code, refusal.reason)
}

pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Refusal {
    Refusal::from_status(&outcome.expect_err("the call should be refused"))
}
