//! Wires the process together: connections, tasks, servers.

use std::net::SocketAddr;
use std::sync::Arc;

use contracts::services::INSTANCE;
use messaging::{Broker, Relay};
use runtime::admin::{self, Health};
use runtime::database;
use runtime::grpc::{Dialer, Server};
use runtime::identity::{ServiceKeys, ServiceSigner, UserVerifier};
use runtime::process::Process;

use crate::app::{App, news};
use crate::clients::billing::Billing;
use crate::clients::users::Customers;
use crate::clients::worker::Worker;
use crate::config::{Config, Migrate, OWNED};
use crate::consumer::{self, CUSTOMERS, SERVERS, SUBSCRIPTIONS, Servers, Subscriptions};
use crate::metrics::SweepMetrics;
use crate::wakeups::Wakeups;
use crate::{grpc, http, sweep};

/// `instance-service migrate`.
pub async fn migrate(config: Migrate) -> anyhow::Result<()> {
    let process = Process::try_new(INSTANCE, &config.common)?;
    database::migrate(&config.postgres, OWNED, process.name(), &instance::MIGRATIONS).await
}

/// `instance-service redrive`.
pub async fn redrive(config: messaging::Redrive) -> anyhow::Result<()> {
    config.run(INSTANCE, &[SERVERS, SUBSCRIPTIONS, CUSTOMERS]).await
}

/// `instance-service serve`.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    let rules = config.catalogue.rules()?;
    let process = Process::try_new(INSTANCE, &config.common)?;
    let pool = database::pool(&config.postgres, OWNED, INSTANCE);
    let health = Health::new(INSTANCE).with_database(&pool);
    let metrics = process.metrics().clone();
    let stop = process.stopping();

    let signer = ServiceSigner::try_new(INSTANCE, &config.identity)?;
    let dialer = Dialer::try_new(signer, &config.common.grpc_tls)?;
    let wakeups = Wakeups::new(&config.streams, stop.clone());
    let app = App {
        pool: pool.clone(),
        rules: Arc::new(rules),
        billing: Billing::try_new(&dialer, &config.peers.billing_service_url)?,
        customers: Customers::try_new(&dialer, &config.peers.user_service_url)?,
        worker: Worker::try_new(&dialer, &config.peers.instance_worker_url)?,
        metrics: SweepMetrics::new(&metrics),
        wakeups: wakeups.clone(),
    };
    process.spawn("follow", wakeups.run(pool.clone()));
    process.spawn("sweep", sweep::run(app.clone(), stop.clone()));
    process.spawn("rounds", sweep::rounds(app.clone(), stop.clone()));
    process.spawn("news", news::run(app.clone(), stop.clone()));
    process.spawn("erasures", sweep::erasures(app.clone(), stop.clone()));
    process.spawn("drains", sweep::drains(app.clone(), stop.clone()));

    let broker = Broker::new(&config.rabbit, INSTANCE);
    process.spawn("relay", Relay::new(&pool, &broker, &metrics).run(stop.clone()));
    let servers = SERVERS.run(broker.clone(), pool.clone(), Servers, metrics.clone(), stop.clone());
    process.spawn("servers", servers);
    let (customers, handler) = (CUSTOMERS, consumer::Customers);
    let customers = customers.run(broker.clone(), pool.clone(), handler, metrics.clone(), stop.clone());
    process.spawn("customers", customers);
    let subscriptions = SUBSCRIPTIONS.run(broker, pool, Subscriptions, metrics.clone(), stop.clone());
    process.spawn("subscriptions", subscriptions);

    let keys = ServiceKeys::try_new(INSTANCE, &config.identity)?;
    let users = UserVerifier::try_new(&config.users, config.common.environment)?;
    let server =
        Server::try_new(&config.common, grpc::POLICIES, keys.clone(), Some(users), &health, &metrics)?;
    process.spawn("grpc", server.serve(config.common.grpc_address(), grpc::routes(&app), stop.clone()));
    let pages = admin::router(&health, &metrics).merge(http::router(http::Pages { app, keys }));
    let address = SocketAddr::new(config.common.bind_address, config.http_port);
    process.spawn("http", admin::serve(address, pages, stop));
    process.run(&health).await
}
