//! Entry of instance-service: `serve`, `migrate` and `redrive`.

use clap::Parser as _;
use instance_service::config::{Cli, Command};
use instance_service::serve;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(config) => serve::serve(*config).await,
        Command::Migrate(config) => serve::migrate(*config).await,
        Command::Redrive(config) => serve::redrive(*config).await,
    }
}
