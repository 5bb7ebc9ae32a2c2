//! Entry point: settings, TLS provider, then [`instance_worker::serve`], or the off page.

use anyhow::Context as _;
use clap::Parser as _;
use instance_worker::config::{Cli, Command};

fn main() -> anyhow::Result<()> {
    let Cli { command } = Cli::parse();
    // One provider for the whole process: kube, tonic and lapin would otherwise each look for one.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider was installed before main");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            match command {
                Command::Serve(config) => instance_worker::serve(*config).await,
                Command::OffPage(common) => instance_worker::off_page::serve(*common).await,
            }
        })
}
