//! A Kubernetes node whose pods are processes of this machine, for developers and tests without a container
//! engine.

mod addresses;
mod config;
mod context;
mod environment;
mod events;
mod faults;
mod ingress;
mod kubelet_api;
mod logs;
mod mounts;
mod names;
mod node;
mod pods;
mod probes;
mod process;
mod recipes;
mod run;
mod simulated;
mod status;
mod volumes;
mod watching;

use anyhow::Context as _;
use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::config::Config;

fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let filter = EnvFilter::try_new(&config.log_level).context("--log-level is not a filter")?;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    // Without a provider of its own, the first TLS connection would look for one and find two.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run::run(config))
}
