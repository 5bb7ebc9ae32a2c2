//! `bench`: builds and runs a benchmark of the workspace with optimisation.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::workspace::{cargo, root, succeeds};

/// Measure
#[derive(Debug, Args)]
pub struct Bench {
    /// Which benchmark, such as `provision`
    name: String,
    /// Arguments of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Bench {
    /// Runs it.
    pub fn run(self) -> Result<ExitCode> {
        if !root().join("tools/bench").exists() {
            bail!("there are no benchmarks yet");
        }
        let mut command = cargo();
        command
            .args(["run", "--release", "--quiet", "--package", "bench", "--", &self.name])
            .args(&self.args);
        Ok(if succeeds(&mut command)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
