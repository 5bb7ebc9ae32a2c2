//! `lint`: everything that can be said about the code without running it. Each check runs whatever the ones before said.

use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use devstack::progress::{Progress, seconds};

use crate::install::in_path;
use crate::tools::{self, DENY};
use crate::workspace::{cargo, has_offline_data, root, succeeds};
use crate::{signals, sqlx};

/// Check formatting, lints, dependencies, contracts and SQL data
#[derive(Debug, Args)]
pub struct Lint {
    /// Leave out the check of the SQL data, which builds every crate with SQL
    #[arg(long)]
    skip_sqlx: bool,
}

enum Outcome {
    Passed,
    Failed,
    Skipped(&'static str),
}

impl Lint {
    /// Runs all checks and sums up.
    pub fn run(&self) -> ExitCode {
        signals::unblock();
        let begun = Instant::now();
        let progress = Progress::new(std::io::stderr());
        let mut lines = Vec::new();
        let mut failed = 0;
        for (name, check) in self.checks() {
            progress.line(&format!("--- {name}"));
            let start = Instant::now();
            let outcome = check(&progress).unwrap_or_else(|error| {
                progress.line(&format!("{error:#}"));
                Outcome::Failed
            });
            let word = match outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed => {
                    failed += 1;
                    "FAILED".to_owned()
                }
                Outcome::Skipped(why) => format!("skipped: {why}"),
            };
            lines.push(format!("  {name:<14} {:>8}  {word}", seconds(start.elapsed())));
        }
        progress.line(&format!("\nlint: {}", if failed == 0 { "passed" } else { "FAILED" }));
        for line in lines {
            progress.line(&line);
        }
        progress.line(&format!("  all of it took {}", seconds(begun.elapsed())));
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn checks(&self) -> Vec<(&'static str, Check)> {
        let mut checks: Vec<(&'static str, Check)> = vec![
            ("format", |_| outcome(cargo().args(["fmt", "--all", "--check"]))),
            ("clippy", |_| {
                let mut clippy = cargo();
                clippy.args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
                if has_offline_data() {
                    // As everybody else sees it, whatever databases this machine has.
                    clippy.env("SQLX_OFFLINE", "true");
                }
                outcome(&mut clippy)
            }),
            ("dependencies", |progress| {
                let tool = DENY.ensure(progress)?;
                outcome(tools::call(&tool, "deny").args([
                    "--log-level",
                    "error",
                    "check",
                    "bans",
                    "licenses",
                    "sources",
                ]))
            }),
            ("contracts", |_| {
                if !in_path("buf") {
                    return Ok(Outcome::Skipped("buf is not installed"));
                }
                outcome(Command::new("buf").arg("lint").current_dir(root().join("proto")))
            }),
            ("architecture", |_| outcome(cargo().args(["test", "--quiet", "--package", "architecture"]))),
        ];
        if !self.skip_sqlx {
            checks.push(("SQL data", |progress| {
                Ok(if sqlx::prepare(true, progress)? { Outcome::Passed } else { Outcome::Failed })
            }));
        }
        checks
    }
}

type Check = fn(&Progress) -> Result<Outcome>;

fn outcome(command: &mut Command) -> Result<Outcome> {
    Ok(if succeeds(command)? { Outcome::Passed } else { Outcome::Failed })
}
