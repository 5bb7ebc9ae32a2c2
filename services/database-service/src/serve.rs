//! Wires the process together: connections, tasks, servers.

use std::net::SocketAddr;

use contracts::services::DATABASE;
use messaging::{Broker, Relay};
use runtime::admin::{self, Health};
use runtime::database;
use runtime::grpc::Server;
use runtime::identity::{ServiceKeys, UserVerifier};
use runtime::process::Process;

use crate::app::{App, data_key};
use crate::config::{Config, Migrate, OWNED, RotateKey};
use crate::metrics::ServiceMetrics;
use crate::{MIGRATIONS, grpc, http};

/// `database-service migrate`.
pub async fn migrate(config: Migrate) -> anyhow::Result<()> {
    let process = Process::try_new(DATABASE, &config.common)?;
    database::migrate(&config.postgres, OWNED, process.name(), &MIGRATIONS).await
}

/// `database-service rotate-key`.
pub async fn rotate_key(config: RotateKey) -> anyhow::Result<()> {
    let vault = config.keys.vault()?;
    let process = Process::try_new(DATABASE, &config.common)?;
    let pool = database::pool(&config.postgres, OWNED, process.name());
    data_key::rotate(&pool, &vault).await.map(drop)
}

/// `database-service serve`.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    config.check_secrets()?;
    let vault = config.keys.vault()?;
    let users = UserVerifier::try_new(&config.users, config.common.environment)?;
    let keys = ServiceKeys::try_new(DATABASE, &config.identity)?;
    let process = Process::try_new(DATABASE, &config.common)?;
    let (metrics, stop) = (process.metrics().clone(), process.stopping());
    let pool = database::pool(&config.postgres, OWNED, DATABASE);
    let health = Health::new(DATABASE).with_database(&pool);
    let app = App::new(&pool, vault, config.settings()?, ServiceMetrics::new(&metrics))
        .dying_at(config.fail_point()?);
    let broker = Broker::new(&config.rabbit, DATABASE);

    let server = Server::try_new(&config.common, grpc::POLICIES, keys, Some(users), &health, &metrics)?;
    process.spawn("grpc", server.serve(config.common.grpc_address(), grpc::routes(&app), stop.clone()));
    let pages = admin::router(&health, &metrics).merge(http::router(&app));
    let address = SocketAddr::new(config.common.bind_address, config.http_port);
    process.spawn("http", admin::serve(address, pages, stop.clone()));
    process.spawn("relay", Relay::new(&pool, &broker, &metrics).run(stop.clone()));
    process.spawn("background", app.run_background(stop));
    process.run(&health).await
}
