//! A worker of a test: own database, own pair of namespaces, own doubles; a real API server with its node.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instance::domain::{
    Addresses, BillingStatus, DesiredState, Holds, Instance, Limits, Observed, OperationKind, OperationState,
    ProvisioningStatus, Status, workload_name,
};
use instance::store::operations::{self, NewOperation};
use instance::store::{Scope, instances};
use instance_worker::cluster::{self, Cluster, Connection, Source};
use instance_worker::config::Addressing;
use instance_worker::election::Election;
use instance_worker::failpoint::FailPoint;
use instance_worker::lead::Lead;
use instance_worker::objects::Settings;
use instance_worker::objects::catalogue::{Catalogue, Flavour};
use instance_worker::operations::{Engine, Metrics, Pauses, Tuning, Wake, listen};
use instance_worker::reconcile::Repairs;
use instance_worker::watch::Status as WatchStatus;
use instance_worker::worker::Worker;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use test_kit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::account;
use crate::doubles::Doubles;

/// Longest wait of a test for something that the worker does at once.
pub const SOON: Duration = Duration::from_secs(30);

/// A stack of a test. Dropping it stops its workers; [`Stack::end`] also removes its namespaces.
pub struct Stack {
    pub database: PgPool,
    pub worker: Worker,
    pub client: Client,
    pub doubles: Doubles,
    pub tenants: String,
    pub platform: String,
    run: String,
    /// Life of the leases of engines that are started from here on.
    pub lease: Duration,
    stops: Vec<CancellationToken>,
    handles: Vec<tokio::task::JoinHandle<()>>,
    pub metrics: telemetry::metrics::Metrics,
}

impl Drop for Stack {
    fn drop(&mut self) {
        for stop in &self.stops {
            stop.cancel();
        }
    }
}

pub fn settings(tenants: &str, platform: &str) -> Settings {
    Settings {
        tenants: tenants.to_owned(),
        platform: platform.to_owned(),
        ingress_namespace: "kube-system".into(),
        catalogue: Catalogue::try_new("simulated/tenant:{version}", Some(Flavour::Bitnami), &[]).unwrap(),
        storage_class: "cephfs-quota".into(),
        pool_storage_class: "cephfs-quota".into(),
        probe_path: "/web/health".into(),
        run_as_user: 1001,
        cpu_ratio: 0.1,
        memory_ratio: 0.1,
        base_domain: "test.localhost".into(),
        tls: false,
        tls_secret: None,
        ingress_class: "traefik".into(),
    }
}

impl Stack {
    /// Everything but workers.
    pub async fn start(database: PgPool) -> Self {
        Self::start_through(database, None).await
    }

    /// The same, with the worker's way to the API server through this address.
    pub async fn start_through(database: PgPool, through: Option<SocketAddr>) -> Self {
        // The log of a failed test is shown with it.
        let _ = tracing_subscriber::fmt()
            .with_env_filter("info,kube=warn,sqlx=warn")
            .with_test_writer()
            .try_init();
        let doubles = Doubles::default();
        let source = Source {
            kubeconfig: Some(PathBuf::from(test_kit::environment::kubeconfig())),
            timeout: Duration::from_secs(10),
        };
        let config = source.config().await.expect("a kubeconfig");
        let client = source.connect().await.expect("an API server");
        let run = Uuid::new_v4().simple().to_string();
        let (tenants, platform) = (format!("t-{}-odoo", &run[..10]), format!("t-{}-platform", &run[..10]));
        for namespace in [&tenants, &platform] {
            let object = Namespace {
                metadata: ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() },
                ..Namespace::default()
            };
            Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("a namespace");
        }
        let run = run[..10].to_owned();
        account::prepare(&tenants, &platform, &run).await;
        // The worker is nobody special: a right that its role lacks is missing here too.
        let mut own = account::config_as(&client, &config, &platform, "instance-worker-sa").await;
        if let Some(address) = through {
            own.cluster_url = format!("https://{address}").parse().expect("an address");
        }
        let access = cluster::client(own).expect("a client");
        let worker = worker(&database, access, &doubles, settings(&tenants, &platform)).await;
        Self {
            run,
            database,
            worker,
            client,
            doubles,
            tenants,
            platform,
            lease: Duration::from_secs(6),
            stops: Vec::new(),
            handles: Vec::new(),
            metrics: telemetry::metrics::Metrics::new(),
        }
    }

    /// With one engine and one leader.
    pub async fn running(database: PgPool) -> Self {
        let mut stack = Self::start(database).await;
        stack.engine("engine-1", 16);
        stack.lead("leader-1");
        stack
    }

    /// Starts an engine; the token stops it.
    pub fn engine(&mut self, owner: &str, concurrency: usize) -> CancellationToken {
        self.engine_with(owner, concurrency, Pauses::default())
    }

    /// Starts an engine whose pauses are of another scale of time.
    pub fn engine_with(&mut self, owner: &str, concurrency: usize, pauses: Pauses) -> CancellationToken {
        let stop = CancellationToken::new();
        let wake = Wake::default();
        let tuning = Tuning {
            owner: owner.to_owned(),
            concurrency,
            lease: self.lease,
            sweep: Duration::from_secs(5),
            pauses,
        };
        let engine = Engine::new(self.worker.clone(), tuning, wake.clone(), Metrics::new(&self.metrics));
        self.task(engine.run(stop.clone()));
        self.task(listen(self.database.clone(), vec![("operations", wake)], stop.clone()));
        self.stops.push(stop.clone());
        stop
    }

    /// Starts a candidate of its own cluster access, as another process would have it; the token stops it.
    pub fn lead(&mut self, identity: &str) -> CancellationToken {
        let stop = CancellationToken::new();
        let (pools, monitoring) = (Wake::default(), Wake::default());
        let lead = Lead {
            worker: self.worker.clone(),
            status: WatchStatus::new(&self.metrics),
            repairs: Repairs::new(&self.metrics),
            interval: Duration::from_mins(10),
            auto_start: true,
            pools_wake: pools.clone(),
            monitoring_wake: monitoring.clone(),
        };
        let election = Election::new(&self.platform, identity);
        self.task(election.run(lead, stop.clone()));
        let channels = vec![("pools", pools), ("monitoring", monitoring)];
        self.task(listen(self.database.clone(), channels, stop.clone()));
        self.stops.push(stop.clone());
        stop
    }

    fn task(&mut self, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.handles.push(tokio::spawn(async move {
            if let Err(error) = work.await {
                panic!("a task of the worker failed: {error:#}");
            }
        }));
    }

    /// Stops the workers and removes the namespaces.
    pub async fn end(mut self) {
        for stop in &self.stops {
            stop.cancel();
        }
        for handle in self.handles.drain(..) {
            tokio::time::timeout(SOON, handle).await.expect("a task ends at the stop").expect("no panic");
        }
        account::forget(&self.run).await;
        for namespace in [&self.tenants, &self.platform] {
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            let _ = namespaces.delete(namespace, &DeleteParams::background()).await;
        }
    }

    /// Inserts an instance with its create operation.
    pub async fn create(&self) -> (Uuid, Uuid) {
        let instance = instance_row(&self.tenants);
        let mut tx = self.database.begin().await.unwrap();
        assert!(instances::insert(&mut tx, &instance).await.unwrap());
        let operation = operation(&mut tx, &instance, OperationKind::Create).await;
        tx.commit().await.unwrap();
        (instance.id, operation)
    }

    /// An instance that runs.
    pub async fn running_instance(&self) -> Uuid {
        let (id, operation) = self.create().await;
        self.ends(operation, OperationState::Succeeded).await;
        assert_eq!(self.row(id).await.status, Status::Running);
        id
    }

    /// What the API does when somebody asks for an action: row and operation in one transaction.
    pub async fn ask(&self, id: Uuid, kind: OperationKind, status: Status, desired: DesiredState) -> Uuid {
        let mut tx = self.database.begin().await.unwrap();
        let before = instances::find(&mut tx, id, Scope::All).await.unwrap().unwrap().instance;
        let restarted = (kind == OperationKind::Restart).then(runtime::clock::now);
        let purge_after = (desired == DesiredState::Terminated).then(runtime::clock::now);
        sqlx::query(
            "UPDATE instances SET status = $2, desired_state = $3, restarted_at = coalesce($4, restarted_at), purge_after = $5,
                    generation = generation + 1, version = version + 1 WHERE id = $1",
        )
        .bind(id)
        .bind(status.as_str())
        .bind(desired.as_str())
        .bind(restarted)
        .bind(purge_after)
        .execute(&mut *tx)
        .await
        .unwrap();
        let operation = operation(&mut tx, &before, kind).await;
        tx.commit().await.unwrap();
        operation
    }

    /// The row of an instance.
    pub async fn row(&self, id: Uuid) -> Instance {
        let mut connection = self.database.acquire().await.unwrap();
        instances::find(&mut connection, id, Scope::All).await.unwrap().unwrap().instance
    }

    /// The row of an operation.
    pub async fn operation(&self, id: Uuid) -> instance::domain::Operation {
        let instance: Uuid = sqlx::query_scalar("SELECT instance_id FROM operations WHERE id = $1")
            .bind(id)
            .fetch_one(&self.database)
            .await
            .unwrap();
        let mut connection = self.database.acquire().await.unwrap();
        operations::find(&mut connection, instance, id, Scope::All).await.unwrap().unwrap()
    }

    /// Waits for the end of an operation.
    pub async fn ends(&self, id: Uuid, wanted: OperationState) -> instance::domain::Operation {
        let ended = eventually("the end of the operation", Duration::from_mins(1), || async {
            let operation = self.operation(id).await;
            (!operation.state.is_active()).then_some(operation)
        })
        .await;
        assert_eq!(ended.state, wanted, "{ended:?}");
        ended
    }

    /// Waits for a status.
    pub async fn becomes(&self, id: Uuid, status: Status, within: Duration) -> Instance {
        eventually(&format!("status {status}"), within, || async {
            let row = self.row(id).await;
            (row.status == status).then_some(row)
        })
        .await
    }

    /// The API of a kind in the tenants' namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.tenants)
    }

    /// The objects of an instance.
    pub async fn objects<K>(&self, id: Uuid) -> Vec<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let selector = format!("saasodoo.io/instance-id={id}");
        self.api::<K>().list(&ListParams::default().labels(&selector)).await.expect("a list").items
    }

    /// Topics of the facts about an instance, oldest first, without those of the queue.
    pub async fn facts(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT topic FROM outbox WHERE aggregate_id = $1 AND topic <> 'instance.operation.requested.v1' ORDER BY id",
        )
        .bind(id)
        .fetch_all(&self.database)
        .await
        .unwrap()
    }

    /// Words of the timeline, oldest first.
    pub async fn timeline(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT type FROM instance_events WHERE instance_id = $1 ORDER BY at, id")
            .bind(id)
            .fetch_all(&self.database)
            .await
            .unwrap()
    }
}

/// Another worker of the same stack, with its own access and caches.
pub async fn worker(database: &PgPool, client: Client, doubles: &Doubles, settings: Settings) -> Worker {
    Worker {
        database: database.clone(),
        cluster: Cluster::new(Connection::fixed(client), 500, cluster::Metrics::default()),
        peers: doubles.start().await,
        settings: Arc::new(settings),
        addressing: Addressing::PodIp,
        http_check: true,
        retention: Duration::from_hours(720),
        fail: FailPoint::default(),
    }
}

async fn operation(connection: &mut sqlx::PgConnection, before: &Instance, kind: OperationKind) -> Uuid {
    let new = NewOperation {
        kind,
        requested_by: "test".into(),
        parameters: serde_json::json!({}),
        request_id: "r-1".into(),
        can_be_taken_back: true,
    };
    operations::insert(connection, before, new).await.unwrap().id
}

/// A row as the API inserts it.
pub fn instance_row(tenants: &str) -> Instance {
    let (id, now) = (Uuid::now_v7(), runtime::clock::now());
    let subdomain = format!("s{}", &id.simple().to_string()[12..]);
    let addresses = Addresses {
        base_domain: "test.localhost".into(),
        public_port: 80,
        tls: false,
        namespace: tenants.to_owned(),
    };
    Instance {
        id,
        customer_id: Uuid::now_v7(),
        subscription_id: Some(Uuid::now_v7()),
        plan: "basic-monthly".into(),
        plan_tier: "basic".into(),
        db_tier: "starter".into(),
        name: "Ünïcode / test".into(),
        description: String::new(),
        odoo_version: "17".into(),
        instance_type: "production".into(),
        status: Status::Creating,
        desired_state: DesiredState::Running,
        desired_before_suspend: None,
        holds: Holds::default(),
        suspended_reason: None,
        billing_status: BillingStatus::Trial,
        provisioning_status: ProvisioningStatus::Pending,
        generation: 1,
        observed_generation: 0,
        observed: Observed {
            phase: "not_found".into(),
            ready: false,
            restarts: 0,
            reason: String::new(),
            node: String::new(),
            pod_ip: String::new(),
            started_at: None,
            at: None,
        },
        limits: Limits { cpu_millis: 1000, memory_mib: 1024, storage_mib: 1024 },
        external_url: addresses.external_url(&subdomain),
        internal_url: addresses.internal_url(id),
        subdomain,
        admin_email: "admin@acme.test".into(),
        demo_data: false,
        display_database_name: String::new(),
        db_type: "shared".into(),
        database: None,
        deployment_name: workload_name(id).into(),
        service_name: workload_name(id).into(),
        error: None,
        restarted_at: None,
        purge_after: None,
        last_health_check: None,
        labels: std::collections::BTreeMap::default(),
        credentials_until: now + time::Duration::days(7),
        credentials_revealed_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
        started_at: None,
    }
}
