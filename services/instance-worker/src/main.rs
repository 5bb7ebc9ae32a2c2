//! Entry point: settings, TLS provider, then [`instance_worker::serve`].

use anyhow::Context as _;
use clap::Parser as _;
use instance_worker::config::{Cli, Command};

fn main() -> anyhow::Result<()> {
    let Cli { command: Command::Serve(config) } = Cli::parse();
    // One provider for the whole process: kube, tonic and lapin would otherwise each look for one.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider was installed before main");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(instance_worker::serve(*config))
}
