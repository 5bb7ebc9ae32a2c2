//! Start-up: settings in, every task of the process out. Wiring only.

use std::sync::Arc;
use std::time::Duration;

use contracts::services;
use contracts::worker::v1::worker_service_server::WorkerServiceServer;
use messaging::Broker;
use runtime::admin::{self, Health};
use runtime::config::Common;
use runtime::database::{self, Owned};
use runtime::grpc::{Dialer, Server};
use runtime::identity::{ServiceKeys, ServiceSigner};
use runtime::process::Process;
use tonic::service::Routes;

use crate::cluster::{self, Cluster, Connection};
use crate::config::Config;
use crate::consumer::{self, OperationRequested, PoolNews};
use crate::election::Election;
use crate::failpoint::FailPoint;
use crate::grpc::{Handlers, POLICIES};
use crate::lead::Lead;
use crate::operations::{self, Engine, Tuning, Wake, listen};
use crate::peers::Peers;
use crate::reconcile::Repairs;
use crate::watch::Status;
use crate::worker::Worker;

/// The worker shares database and role with instance-service.
const OWNED: Owned = Owned { database: "instance", role: "instance_service" };

/// What wakes whom.
#[derive(Debug, Clone, Default)]
struct Wakes {
    operations: Wake,
    monitoring: Wake,
    pools: Wake,
}

/// Runs until SIGTERM or until a task ends.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    config.check()?;
    let process = Process::try_new(services::WORKER, &quiet(&config.common))?;
    let pool = database::pool(&config.postgres, OWNED, services::WORKER);
    let worker = worker(&config, &process, &pool)?;
    let health = health(&worker);
    let wakes = Wakes::default();
    spawn_engine(&process, &config, &worker, &wakes);
    spawn_lead(&process, &config, &worker, &wakes);
    spawn_messages(&process, &config, &worker, &wakes);
    spawn_servers(&process, &config, &worker, &health)?;
    process.run(&health).await
}

/// The client library logs every failed call by itself; ours say the same with the object and what follows.
fn quiet(common: &Common) -> Common {
    let mut common = common.clone();
    if !common.log_level.contains("kube_client") {
        common.log_level.push_str(",kube_client=off");
    }
    common
}

fn worker(config: &Config, process: &Process, pool: &sqlx::PgPool) -> anyhow::Result<Worker> {
    let signer = ServiceSigner::try_new(services::WORKER, &config.identity)?;
    let dialer = Dialer::try_new(signer, &config.common.grpc_tls)?;
    let (connection, connecting) = Connection::open(config.source(), process.stopping());
    process.spawn("kubernetes connection", connecting);
    Ok(Worker {
        database: pool.clone(),
        cluster: Cluster::new(
            connection,
            config.cluster.kubernetes_calls_per_second,
            cluster::Metrics::new(process.metrics()),
        ),
        peers: Peers::try_new(&dialer, &config.billing_service_url, &config.database_service_url)?,
        settings: Arc::new(config.objects()?),
        addressing: config.cluster.cluster_addressing,
        http_check: config.odoo.odoo_http_check,
        retention: Duration::from_secs(u64::from(config.engine.retention_days) * 24 * 3600),
        fail: FailPoint::abort_at(config.engine.worker_fail_point.as_deref()),
    })
}

/// K8S-02: ready only with a database and a cluster that answer.
pub fn health(worker: &Worker) -> Health {
    let cluster = worker.cluster.clone();
    Health::new(services::WORKER).with_database(&worker.database).with_check("kubernetes", move || {
        let cluster = cluster.clone();
        async move { Ok(cluster.check().await?) }
    })
}

fn spawn_engine(process: &Process, config: &Config, worker: &Worker, wakes: &Wakes) {
    let tuning = Tuning {
        owner: config.engine.owner(),
        concurrency: usize::from(config.engine.worker_concurrency),
        lease: Duration::from_secs(u64::from(config.engine.worker_lease_seconds)),
        sweep: Duration::from_secs(config.engine.worker_sweep_seconds.max(1)),
        pauses: operations::Pauses::default(),
    };
    let metrics = operations::Metrics::new(process.metrics());
    let engine = Engine::new(worker.clone(), tuning, wakes.operations.clone(), metrics);
    process.spawn("operations", engine.run(process.stopping()));
    let channels = vec![
        ("operations", wakes.operations.clone()),
        ("monitoring", wakes.monitoring.clone()),
        ("pools", wakes.pools.clone()),
    ];
    process.spawn("notifications", listen(worker.database.clone(), channels, process.stopping()));
}

fn spawn_lead(process: &Process, config: &Config, worker: &Worker, wakes: &Wakes) {
    let lead = Lead {
        worker: worker.clone(),
        status: Status::new(process.metrics()),
        repairs: Repairs::new(process.metrics()),
        interval: Duration::from_secs(config.engine.reconcile_interval_seconds.max(1)),
        auto_start: config.engine.auto_start_monitoring,
        pools_wake: wakes.pools.clone(),
        monitoring_wake: wakes.monitoring.clone(),
    };
    let election = Election::new(&worker.settings.platform, &config.engine.owner());
    process.spawn("election", election.run(lead, process.stopping()));
}

fn spawn_messages(process: &Process, config: &Config, worker: &Worker, wakes: &Wakes) {
    let broker = Broker::new(&config.rabbit, services::WORKER);
    let (database, metrics, stop) = (&worker.database, process.metrics(), process.stopping());
    let operations = OperationRequested(wakes.operations.clone());
    process.spawn(
        "consumer of operations",
        consumer::OPERATIONS.run(broker.clone(), database.clone(), operations, metrics.clone(), stop.clone()),
    );
    process.spawn(
        "consumer of pools",
        consumer::POOLS.run(broker, database.clone(), PoolNews, metrics.clone(), stop),
    );
}

fn spawn_servers(process: &Process, config: &Config, worker: &Worker, health: &Health) -> anyhow::Result<()> {
    let keys = ServiceKeys::try_new(services::WORKER, &config.identity)?;
    let server = Server::try_new(&config.common, POLICIES, keys, None, health, process.metrics())?;
    let routes = Routes::new(WorkerServiceServer::new(Handlers { worker: worker.clone() }));
    process.spawn("grpc", server.serve(config.common.grpc_address(), routes, process.stopping()));
    let pages = admin::router(health, process.metrics());
    process.spawn("http", admin::serve(config.http_address(), pages, process.stopping()));
    Ok(())
}
