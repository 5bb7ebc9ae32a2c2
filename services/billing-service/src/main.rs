//! Entry of billing-service: `serve`, `migrate` and `redrive`.

use billing_service::config::{Cli, Command};
use billing_service::serve;
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(config) => serve::serve(*config).await,
        Command::Migrate(config) => serve::migrate(*config).await,
        Command::Redrive(config) => serve::redrive(*config).await,
    }
}
