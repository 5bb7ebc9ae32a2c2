//! The gateway's process: settings, connections, two HTTP ports.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Context as _;
use clap::Parser as _;
use contracts::services::GATEWAY;
use gateway::automation;
use gateway::config::{Cli, Command, Config};
use gateway::server;
use gateway::state::App;
use runtime::admin::{self, Health};
use runtime::process::Process;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(config) => serve(*config).await,
        Command::ServiceKey(settings) => say(&automation::make_key(&settings)?),
        Command::ServiceToken(settings) => say(&automation::make_token(&settings)?),
    }
}

/// What a script reads: the line and nothing else.
fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output")
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let process = Process::try_new(GATEWAY, &config.common)?.with_grace(config.grace());
    let app = App::try_new(&config, process.metrics(), process.stopping())?;
    let health = Health::new(GATEWAY);
    let public = SocketAddr::new(config.common.bind_address, config.http_port);
    process.spawn("public API", server::serve(public, app, process.stopping(), config.drain()));
    let pages = admin::router(&health, process.metrics());
    let address = SocketAddr::new(config.common.bind_address, config.admin_port);
    process.spawn("health and metrics", admin::serve(address, pages, process.stopping()));
    process.run(&health).await
}
