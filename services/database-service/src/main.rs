//! Entry of database-service: `serve`, `migrate` and `rotate-key`.

use clap::Parser as _;
use database_service::config::{Cli, Command};
use database_service::serve;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(config) => serve::serve(*config).await,
        Command::Migrate(config) => serve::migrate(*config).await,
        Command::RotateKey(config) => serve::rotate_key(*config).await,
    }
}
