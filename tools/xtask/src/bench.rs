//! `bench`: builds everything with optimisation, starts a stack of its own for the benchmark, runs it, and
//! stops the stack.

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use clap::Args;
use devstack::control;
use devstack::given::Given;
use devstack::progress::Progress;
use devstack::stack::{Extent, Plan, Stack};

use crate::scratch::{Scratch, clean, keep_logs};
use crate::signals::{self, First};
use crate::workspace::{self, cargo, root, succeeds, target};
use crate::{build, install, up};

/// Measure
#[derive(Debug, Args)]
pub struct Bench {
    /// Use the unoptimised programs that `up` and `test` use: quicker to begin with, and the figures say less
    #[arg(long)]
    dev: bool,
    /// Measure `billing` with a Kill Bill behind it; also among the options of the benchmark
    #[arg(long)]
    killbill: bool,
    /// Which benchmark, such as `provision`
    name: String,
    /// Options of the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Settings of the stack that is measured: limits that are no part of the measurement are out of reach, and
/// the local node simulates the pods of an image that it does not know.
const SETTINGS: [(&str, &str); 11] = [
    ("RATE_LIMIT_PER_MINUTE", "1000000"),
    ("RATE_LIMIT_BURST", "1000000"),
    ("RATE_LIMIT_ANONYMOUS_PER_MINUTE", "1000000"),
    ("RATE_LIMIT_AUTH_PER_MINUTE", "1000000"),
    ("RATE_LIMIT_WEBHOOK_PER_MINUTE", "100000000"),
    ("MAX_EMAILS_PER_MINUTE", "1000000"),
    ("MAX_EMAILS_PER_HOUR", "1000000"),
    ("ODOO_IMAGE", "local/simulated:{version}"),
    ("ODOO_IMAGE_FLAVOUR", "bitnami"),
    ("LOG_LEVEL", "warn"),
    // One pool has room for all, so that making pools is no part of the measurement.
    ("DB_POOL_MAX_INSTANCES", "500"),
];

impl Bench {
    /// Runs it.
    pub fn run(mut self) -> Result<ExitCode> {
        let given_options = self.args.len();
        self.args.retain(|arg| arg != "--killbill");
        self.killbill |= self.args.len() < given_options;
        let progress = Progress::new(std::io::stderr());
        let given = Given::default();
        install::servers(&given, &progress)?;
        let scratch = Scratch::on_disk()?;
        let mut layout = scratch.layout.clone();
        if !self.dev {
            layout.programs = target()?.join("release");
        }
        install::go(&layout)?;
        let abandoned = layout.clone();
        let watch = signals::watch(First::End, move || clean(&abandoned, false));

        let settings =
            SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // Runs are measured from the moment at which something is due, so that the wait for the next sweep is
        // no large part of them.
        let billing = BTreeMap::from([("ORDER_SWEEP_SECONDS".to_owned(), "1".to_owned())]);
        let plan = Plan {
            layout: layout.clone(),
            durable: true,
            extent: Extent::All,
            keep_going: false,
            given,
            killbill: self.killbill,
            extra: BTreeMap::from([("*".to_owned(), settings), ("billing-service".to_owned(), billing)]),
        };
        let outcome = Stack::start(plan, &progress, || self.build(&progress)).and_then(|stack| {
            control::serve(&stack, stack.control_port())?;
            up::create_admin(&stack)?;
            let file = stack.write_file()?;
            watch.set(First::Tell);
            let mut bench = Command::new(layout.program("bench"));
            bench.current_dir(root()).arg("--stack").arg(stack.layout().stack_file());
            bench.arg("--out").arg(target()?.join("bench")).arg(&self.name).args(&self.args);
            bench.env("KUBECONFIG", &file.kubeconfig);
            let passed = succeeds(&mut bench);
            stack.stop(true).and(passed)
        });
        if !matches!(outcome, Ok(true)) {
            keep_logs(&layout)?;
        }
        drop(scratch);
        clean(&layout, false);
        Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn build(&self, progress: &Progress) -> Result<()> {
        if self.dev {
            return workspace::build_programs(Extent::All, progress);
        }
        let mut command = cargo();
        command.args(["build", "--workspace", "--bins", "--release"]);
        if !build::succeeds(&mut command, "programs", progress)? {
            bail!("the programs could not be built; the compiler's messages stand above");
        }
        Ok(())
    }
}
