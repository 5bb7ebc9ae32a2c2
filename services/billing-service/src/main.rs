//! Entry of billing-service: `serve` and `migrate`.

use billing_service::config::{Cli, Command};
use billing_service::serve;
use clap::Parser as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(config) => serve::serve(*config).await,
        Command::Migrate(config) => serve::migrate(*config).await,
    }
}
