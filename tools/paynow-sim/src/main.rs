//! A strict stand-in for Paynow (`test_kit::paynow`) as a program: merchants' interface and payment page on
//! one port, on another the switch by which a person or a test pays, cancels, and lets messages be lost,
//! forged, repeated, reordered or wrong. Chosen ports are printed as one JSON line.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Parser;
use test_kit::paynow::{Paynow, Settings, delivery};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Plays Paynow; no money moves.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Config {
    /// Address of the interface; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address of the switch, on loopback; port 0 chooses a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Id of the merchant's integration
    #[arg(long, env = "PAYNOW_INTEGRATION_ID", default_value = "1201")]
    id: String,
    /// Its key
    #[arg(long, env = "PAYNOW_INTEGRATION_KEY", hide_env_values = true)]
    key: String,
    /// Mail address of the merchant's account
    #[arg(long, env = "PAYNOW_MERCHANT_EMAIL", default_value = "merchant@example.com")]
    email: String,
    /// Longest time that the test phones take to answer, in milliseconds
    #[arg(long, default_value_t = 5_000)]
    prompt_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Config { listen, control, id, key, email, prompt_ms } = Config::parse();
    ensure!(control.ip().is_loopback(), "the switch listens on loopback alone");
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;

    let settings = Settings { id, key, email, prompt: Duration::from_millis(prompt_ms) };
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let paynow = Paynow::start_on(listener, settings)?;
    let switch = TcpListener::bind(control).await.with_context(|| format!("listen on {control}"))?;
    let ports =
        serde_json::json!({ "paynow": paynow.url, "control": format!("http://{}", switch.local_addr()?) });
    writeln!(std::io::stdout().lock(), "{ports}").context("print the ports")?;

    tokio::select! {
        ended = axum::serve(switch, paynow.control()) => ended.context("the switch"),
        ended = delivery::run(paynow.clone()) => ended.context("the delivery of results"),
        _ = terminate.recv() => Ok(()),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}
