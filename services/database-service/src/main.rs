//! Start of database-service: settings, connections, tasks, wait.

use std::net::SocketAddr;

use clap::Parser as _;
use contracts::services::DATABASE;
use database_service::app::{App, data_key};
use database_service::config::{Cli, Command, Migrate, OWNED, RotateKey, Serve};
use database_service::metrics::ServiceMetrics;
use database_service::{MIGRATOR, grpc, http};
use messaging::{Broker, Relay};
use runtime::admin::{self, Health};
use runtime::grpc::Server;
use runtime::identity::{ServiceKeys, UserVerifier};
use runtime::process::Process;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(settings) => serve(*settings).await,
        Command::Migrate(settings) => migrate(&settings).await,
        Command::RotateKey(settings) => rotate_key(&settings).await,
    }
}

async fn migrate(settings: &Migrate) -> anyhow::Result<()> {
    let process = Process::try_new(DATABASE, &settings.common)?;
    runtime::database::migrate(&settings.postgres, OWNED, process.name(), &MIGRATOR).await
}

async fn rotate_key(settings: &RotateKey) -> anyhow::Result<()> {
    let vault = settings.keys.vault()?;
    let process = Process::try_new(DATABASE, &settings.common)?;
    let pool = runtime::database::pool(&settings.postgres, OWNED, process.name());
    data_key::rotate(&pool, &vault).await.map(drop)
}

async fn serve(settings: Serve) -> anyhow::Result<()> {
    settings.check_secrets()?;
    let vault = settings.keys.vault()?;
    let users = UserVerifier::try_new(&settings.users, settings.common.environment)?;
    let keys = ServiceKeys::try_new(DATABASE, &settings.identity)?;
    let process = Process::try_new(DATABASE, &settings.common)?;
    let (metrics, stop) = (process.metrics().clone(), process.stopping());
    let pool = runtime::database::pool(&settings.postgres, OWNED, DATABASE);
    let health = Health::new(DATABASE).with_database(&pool);
    let app = App::new(&pool, vault, settings.settings()?, ServiceMetrics::new(&metrics))
        .dying_at(settings.fail_point()?);
    let broker = Broker::new(&settings.rabbit, DATABASE);

    let server = Server::try_new(&settings.common, grpc::POLICIES, keys, Some(users), &health, &metrics)?;
    process.spawn("grpc", server.serve(settings.common.grpc_address(), grpc::routes(&app), stop.clone()));
    let pages = admin::router(&health, &metrics).merge(http::router(&app));
    let address = SocketAddr::new(settings.common.bind_address, settings.http_port);
    process.spawn("http", admin::serve(address, pages, stop.clone()));
    process.spawn("relay", Relay::new(&pool, &broker, &metrics).run(stop.clone()));
    process.spawn("background", app.run_background(stop));
    process.run(&health).await
}
