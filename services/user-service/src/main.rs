//! The program: reads the settings and starts what the command line names.

use clap::Parser as _;
use user_service::config::{AdminCommand, Cli, Command};
use user_service::{MIGRATIONS, OWNED, app, serve};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Serve(settings) => serve::serve(*settings).await,
        Command::Migrate(settings) => {
            let _telemetry = settings.telemetry()?;
            runtime::database::migrate(&settings.postgres, OWNED, "user-service-migrate", &MIGRATIONS).await
        }
        Command::Admin { command: AdminCommand::Create(settings) } => {
            let _telemetry = settings.database.telemetry()?;
            let pool = runtime::database::pool(&settings.database.postgres, OWNED, "user-service-admin");
            let id = app::create_admin::run(&pool, &settings).await?;
            tracing::info!(customer.id = %id, "the first super_admin was created");
            Ok(())
        }
    }
}
