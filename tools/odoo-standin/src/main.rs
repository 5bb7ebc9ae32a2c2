//! The process that stands in for Odoo on the local node: it connects with the pod's own credentials, keeps a
//! small schema and filestore, answers the paths that the platform probes and logs as Odoo does. It must not
//! know anything of the platform.

mod config;
mod database;
mod filestore;
mod log;
mod web;

use std::future::IntoFuture as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;

/// Longest wait for open requests after the signal to stop.
const DRAIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let config = Config::from_process();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let name = config.database_name.clone();
    match runtime.block_on(serve(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::line(log::Level::Critical, &name, "odoo.service.server", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let name = config.database_name.clone();
    let info = |logger: &str, text: &str| log::line(log::Level::Info, &name, logger, text);
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    info("odoo", "Odoo version 17.0 (stand-in of the local node)");
    info("odoo", &format!("database: {}@{}:{}", config.user, config.host, config.port));

    let setup = async {
        let pool = database::connect(&config).await?;
        let files = filestore::Filestore::open(&config.data_dir, &config.database_name)?;
        let fresh = database::initialise(&pool, &config, &files).await?;
        info(
            "odoo.modules.loading",
            if fresh { "Modules loaded, database initialised." } else { "Modules loaded." },
        );
        anyhow::Ok(pool)
    };
    let pool = tokio::select! {
        pool = setup => pool?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };

    let address = (config.bind, config.http_port);
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("listen on {}:{}", config.bind, config.http_port))?;
    info(
        "odoo.service.server",
        &format!("HTTP service (werkzeug) running on {}:{}", config.bind, config.http_port),
    );

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, web::router(pool, name.clone()))
        .with_graceful_shutdown(async move { drop(stopped.await) })
        .into_future();
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return ended.context("HTTP server"),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info("odoo.service.server", "Initiating shutdown");
    drop(stop);
    // Idle keep-alive connections would hold the drain for ever.
    match tokio::time::timeout(DRAIN, server).await {
        Ok(ended) => ended.context("HTTP server")?,
        Err(_elapsed) => {}
    }
    Ok(())
}
