//! The service of a test: its database, its use cases, its gRPC face, and pools that are real servers.

use std::sync::Arc;
use std::time::Duration;

use contracts::database::v1::allocation_service_client::AllocationServiceClient;
use contracts::database::v1::database_admin_service_client::DatabaseAdminServiceClient;
use contracts::database::v1::move_service_client::MoveServiceClient;
use contracts::database::v1::pool_work_service_client::PoolWorkServiceClient;
use contracts::database::v1::{
    AllocateRequest, AllocateResponse, GetPoolSecretRequest, ListPoolSpecsRequest, PoolSpec,
    ReportPoolRequest,
};
use contracts::services::{DATABASE, WORKER};
use database_service::app::{App, Settings};
use database_service::domain::server::Resources;
use database_service::grpc;
use database_service::metrics::ServiceMetrics;
use database_service::secrets::Vault;
use runtime::grpc::Authenticated;
use secrecy::SecretString;
use sqlx::PgPool;
use test_kit::grpc::Running;
use test_kit::identity::Keyring;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;
use uuid::Uuid;

use crate::pool_server::{PoolServer, Tls};

/// Base64 of 32 bytes.
pub const DATA_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// One service.
pub struct World {
    pub pool: PgPool,
    pub app: App,
    pub running: Running,
    background: Option<Arc<DropGuard>>,
}

/// Settings of the tests: pools of `max_instances`.
pub fn settings(max_instances: i32) -> Settings {
    Settings {
        max_instances,
        min_free: 5.min(i64::from(max_instances) - 1),
        image: "postgres:15-alpine".into(),
        resources: Resources {
            cpu_request: "500m".into(),
            cpu_limit: "2".into(),
            memory_request: "1Gi".into(),
            memory_limit: "4Gi".into(),
            storage: "50Gi".into(),
        },
        connections_per_tenant: 8,
        retention_days: 30,
        health_interval: Duration::from_mins(5),
        platform_namespace: "saasodoo".into(),
        instances_namespace: "odoo-instances".into(),
    }
}

impl World {
    /// Without background work: the test does it by hand.
    pub async fn still(pool: &PgPool, settings: Settings) -> Self {
        Self::with_vault(pool, settings, Vault::try_new(&SecretString::from(DATA_KEY)).unwrap()).await
    }

    /// The same with other keys.
    pub async fn with_vault(pool: &PgPool, settings: Settings, vault: Vault) -> Self {
        let app = App::new(pool, vault, settings, ServiceMetrics::default());
        let running =
            test_kit::grpc::serve(DATABASE, grpc::POLICIES, &Keyring::new(), grpc::routes(&app)).await;
        Self { pool: pool.clone(), app, running, background: None }
    }

    /// With background work.
    pub async fn alive(pool: &PgPool, settings: Settings) -> Self {
        let mut this = Self::still(pool, settings).await;
        let stop = CancellationToken::new();
        tokio::spawn(this.app.clone().run_background(stop.clone()));
        this.background = Some(Arc::new(stop.drop_guard()));
        this
    }

    pub fn allocations(&self) -> AllocationServiceClient<Authenticated> {
        AllocationServiceClient::new(self.running.channel_as(WORKER))
    }

    pub fn pools(&self) -> PoolWorkServiceClient<Authenticated> {
        PoolWorkServiceClient::new(self.running.channel_as(WORKER))
    }

    pub fn moves(&self) -> MoveServiceClient<Authenticated> {
        MoveServiceClient::new(self.running.channel_as(WORKER))
    }

    pub fn admin(&self) -> DatabaseAdminServiceClient<Authenticated> {
        DatabaseAdminServiceClient::new(self.running.channel())
    }

    pub async fn allocate(
        &self,
        instance: &str,
        customer: &str,
        tier: &str,
    ) -> Result<AllocateResponse, Status> {
        let request = AllocateRequest {
            instance_id: instance.into(),
            customer_id: customer.into(),
            plan_tier: tier.into(),
            require_dedicated: None,
        };
        Ok(self.allocations().allocate(request).await?.into_inner())
    }

    /// The specs, as the worker reads them.
    pub async fn specs(&self) -> Vec<PoolSpec> {
        self.pools().list_pool_specs(ListPoolSpecsRequest {}).await.unwrap().into_inner().pools
    }

    /// The administrator's password of a server.
    pub async fn pool_password(&self, spec: &PoolSpec) -> SecretString {
        self.pool_secret(spec).await.0
    }

    /// A server of before stands for this spec from here on.
    pub async fn build_from(&self, spec: &PoolSpec, server: &mut PoolServer) {
        let (password, tls) = self.pool_secret(spec).await;
        server.stand_for(&password, &tls).await;
    }

    /// Builds the pool of a spec as a real server with the service's own password and tuning.
    pub async fn build(&self, spec: &PoolSpec) -> PoolServer {
        let (password, tls) = self.pool_secret(spec).await;
        PoolServer::start_with_tls(&password, &spec.config, &tls).await
    }

    /// What the worker puts into the Secret of a server.
    pub async fn pool_secret(&self, spec: &PoolSpec) -> (SecretString, Tls) {
        let request = GetPoolSecretRequest { pool_id: spec.id.clone() };
        let secret = self.pools().get_pool_secret(request).await.unwrap().into_inner();
        let tls = Tls {
            certificate: secret.tls_certificate,
            key: secret.tls_private_key,
            authorities: secret.ca_certificates,
        };
        (SecretString::from(secret.admin_password), tls)
    }

    /// Reports a pool as the worker does; gives its status.
    pub async fn report(&self, pool_id: &str, observed: &str, server: Option<&PoolServer>) -> String {
        let port = server.map_or(0, |server| u32::from(server.port()));
        let host = if server.is_some() { "127.0.0.1" } else { "" };
        let request = ReportPoolRequest {
            pool_id: pool_id.into(),
            observed: observed.into(),
            platform_host: host.into(),
            platform_port: port,
            tenant_host: host.into(),
            tenant_port: port,
            node: "node-1".into(),
            message: String::new(),
        };
        self.pools().report_pool(request).await.unwrap().into_inner().status
    }

    /// The first request orders a pool; it is built, reported and checked. Gives it active.
    pub async fn first_pool(&self) -> (PoolSpec, PoolServer) {
        let response = self.allocate("first", "somebody", "starter").await.unwrap();
        assert_eq!(response.status, "provisioning");
        let spec = self.specs().await.pop().unwrap();
        let server = self.bring_up(&spec).await;
        self.allocations()
            .release(contracts::database::v1::ReleaseRequest {
                instance_id: "first".into(),
                mode: "soft".into(),
                reason: String::new(),
            })
            .await
            .unwrap();
        (spec, server)
    }

    /// Builds a pool and activates it by hand.
    pub async fn bring_up(&self, spec: &PoolSpec) -> PoolServer {
        let server = self.build(spec).await;
        self.report(&spec.id, "applied", None).await;
        self.report(&spec.id, "ready", Some(&server)).await;
        let checked = self.app.check(Uuid::parse_str(&spec.id).unwrap()).await.unwrap();
        assert_eq!(checked.status.as_str(), "active", "{}", checked.last_error);
        server
    }

    /// Status of all servers by name.
    pub async fn statuses(&self) -> Vec<(String, String, i32)> {
        sqlx::query_as("SELECT name, status, current_instances FROM db_servers ORDER BY created_at, id")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }
}
