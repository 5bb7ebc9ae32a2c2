//! Benchmarks. Each measures a running stack from outside, measures a baseline in the same run, and writes
//! its figures as JSON. `cargo xtask bench` builds with optimisation, starts a stack for it and stops it.

mod billing;
mod clock;
mod databases;
mod figures;
mod provision;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Benchmarks of the platform
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Cli {
    /// stack.json of the running stack
    #[arg(long)]
    stack: PathBuf,
    /// Where the figures go
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Creating instances: acceptance, provisioning, throughput, memory, writes in a steady state
    Provision(provision::Settings),
    /// Billing: orders against bare SQL, messages of payment providers, a renewal run, sweeps with nothing
    /// due; with Kill Bill: against its own calls
    Billing(billing::Settings),
    /// Databases: allocation against bare SQL, one by one and in parallel; a health round
    Databases(databases::Settings),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let stack = e2e::Stack::read(&cli.stack)?;
    let figures = match cli.what {
        What::Provision(settings) => provision::run(&settings, &stack).await?,
        What::Billing(settings) => billing::run(&settings, &stack, &cli.stack).await?,
        What::Databases(settings) => databases::run(&settings, &stack).await?,
    };
    figures.print();
    let path = figures.write(&cli.out)?;
    figures::say(&format!("figures: {}", path.display()));
    Ok(())
}
