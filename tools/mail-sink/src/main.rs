//! An SMTP sink with the HTTP API of Mailpit: it takes every mail on loopback, keeps it for people and tests
//! to read, and delivers nothing. Chosen ports are printed as one JSON line.

mod faults;
mod mailbox;
mod smtp;
mod web;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::faults::Faults;
use crate::mailbox::Mailbox;

/// Takes every mail by SMTP and shows it over HTTP.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Config {
    /// Address of the SMTP server; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    smtp: SocketAddr,
    /// Address of the HTTP server; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    http: SocketAddr,
    /// Folder that gets each mail as an .eml file as well
    #[arg(long)]
    folder: Option<PathBuf>,
    /// How many mails are kept; the oldest go first
    #[arg(long, default_value_t = 20_000)]
    keep: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Config { smtp, http, folder, keep } = Config::parse();
    let mailbox = Arc::new(Mailbox::open(folder, keep)?);
    let faults = Arc::new(Faults::default());
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;

    let smtp = TcpListener::bind(smtp).await.with_context(|| format!("listen on {smtp}"))?;
    let http = TcpListener::bind(http).await.with_context(|| format!("listen on {http}"))?;
    let ports = serde_json::json!({
        "smtp": smtp.local_addr()?.to_string(),
        "http": format!("http://{}", http.local_addr()?),
    });
    writeln!(std::io::stdout().lock(), "{ports}").context("print the ports")?;

    let router = web::router(Arc::clone(&mailbox), Arc::clone(&faults));
    tokio::select! {
        ended = axum::serve(http, router) => ended.context("HTTP server"),
        ended = smtp::serve(smtp, mailbox, faults) => ended.context("SMTP server"),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
