//! `attack`: replays the attacks that once succeeded against the running stack. The tests of everything do
//! the same against a stack of their own.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;

use crate::workspace::{cargo, succeeds};
use crate::{signals, up, workspace};

/// Replay attacks by tenants, customers and strangers against the running stack
#[derive(Debug, Args)]
pub struct Attack {
    /// Only those of this module or name, such as `pools` or `http::slow_heads_are_cut_off`
    name: Option<String>,
}

impl Attack {
    /// Runs them one after the other: some take a pool away from everybody for some seconds.
    pub fn run(self, stack: &str) -> Result<ExitCode> {
        signals::unblock();
        let layout = workspace::named_layout(stack)?;
        if up::read_file(&layout)?.api.is_empty() {
            bail!("the running stack has no services: start all of it by `cargo xtask up`");
        }
        let mut tests = cargo();
        tests.args(["test", "--package", "e2e", "--test", "faults", "--", "--test-threads", "1"]);
        tests.arg(self.name.map_or_else(|| "attacks::".to_owned(), |name| format!("attacks::{name}")));
        tests.env("SAASODOO_STACK", layout.stack_file());
        Ok(if succeeds(&mut tests)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
