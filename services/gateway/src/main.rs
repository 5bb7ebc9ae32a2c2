//! The gateway's process: settings, connections, two HTTP ports.

use std::net::SocketAddr;

use clap::Parser as _;
use contracts::services::GATEWAY;
use gateway::app::{self, App};
use gateway::config::{Cli, Command, Config};
use runtime::admin::{self, Health};
use runtime::process::Process;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(config) => serve(*config).await,
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let process = Process::try_new(GATEWAY, &config.common)?.with_grace(config.grace());
    let app = App::try_new(&config, process.metrics(), process.stopping())?;
    let health = Health::new(GATEWAY);
    let public = SocketAddr::new(config.common.bind_address, config.http_port);
    process.spawn("public API", app::serve(public, app, process.stopping(), config.drain()));
    let pages = admin::router(&health, process.metrics());
    let address = SocketAddr::new(config.common.bind_address, config.admin_port);
    process.spawn("health and metrics", admin::serve(address, pages, process.stopping()));
    process.run(&health).await
}
