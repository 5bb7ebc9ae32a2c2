//! `test`: a stack of its own in a scratch folder, all tests with nextest in two passes, and nothing left
//! behind. With `--quick` one pass without a cluster, for the inner loop.
//!
//! The second pass runs the tests that make faults (the test binary `faults` of `tests/e2e`), one after the
//! other: they stop servers that the other tests use.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use devstack::control;
use devstack::layout::Layout;
use devstack::progress::{Progress, seconds};
use devstack::stack::{Extent, Plan, Stack};

use crate::compose::{self, Compose};
use crate::given::GivenArgs;
use crate::scratch::{self, Scratch, clean, keep_logs};
use crate::signals::{self, First};
use crate::tools::{self, NEXTEST};
use crate::workspace::{cargo, run, succeeds};
use crate::{build, install, settings, third_party, up, workspace};

/// Which servers the tests get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Servers {
    /// None
    None,
    /// PostgreSQL, Redis, RabbitMQ and the mail sink
    Basic,
    /// And the cluster with its node
    Cluster,
    /// And all services
    All,
}

/// Run all tests against servers of their own
#[derive(Debug, Args)]
pub struct Test {
    /// Start less than everything, for tests that need less
    #[arg(
        long,
        value_enum,
        default_value = "all",
        default_value_ifs([("killbill", "true", "basic"), ("quick", "true", "basic")])
    )]
    servers: Servers,
    /// Run the conformance tests of the billing providers, with a real Kill Bill among them (KILLBILL_URL:
    /// the one there); it is started first
    #[arg(long)]
    killbill: bool,
    /// Run what needs no cluster: unit tests, and the tests of services against PostgreSQL, RabbitMQ and
    /// Redis
    #[arg(long, conflicts_with_all = ["servers", "killbill"])]
    quick: bool,
    /// How many tests run at once; twice as many as there are cores when nothing is said
    #[arg(long, env = THREADS, hide_env_values = true)]
    threads: Option<u16>,
    /// Keep the scratch folder
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    given: GivenArgs,
    /// Filters and options of nextest, such as `-p gateway` or `-E 'test(login)'`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// How soon the worker looks again, and takes over from one that died: the tests kill dozens of them and wait
/// each time.
const IMPATIENCE: [(&str, &str); 2] = [("WORKER_LEASE_SECONDS", "6"), ("WORKER_SWEEP_SECONDS", "15")];

/// How many tests nextest runs at once.
const THREADS: &str = "NEXTEST_TEST_THREADS";

/// What `--killbill` runs unless it is told otherwise.
const CONFORMANCE: [&str; 4] = ["-p", "billing-service", "-E", "test(conformance)"];

/// Notes on what was built, by which the passes run without building.
struct Built {
    binaries: PathBuf,
    cargo: PathBuf,
}

impl Built {
    fn of(layout: &Layout) -> Self {
        Self {
            binaries: layout.dir.join("test-binaries.json"),
            cargo: layout.dir.join("cargo-metadata.json"),
        }
    }
}

/// Options with a value that choose what is built; all other arguments choose what runs.
const BUILD_OPTIONS: [&str; 8] =
    ["-p", "--package", "--exclude", "--test", "--bin", "--example", "--features", "-F"];
/// Such options without a value.
const BUILD_SWITCHES: [&str; 6] = ["--lib", "--bins", "--tests", "--workspace", "--all-targets", "--release"];

/// What chooses the build, and what chooses the tests.
fn split(args: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut build, mut rest) = (Vec::new(), Vec::new());
    let mut args = args.iter().cloned();
    while let Some(arg) = args.next() {
        let key = arg.split_once('=').map_or(arg.as_str(), |(key, _)| key);
        if BUILD_SWITCHES.contains(&key) || (BUILD_OPTIONS.contains(&key) && key != arg) {
            build.push(arg);
        } else if BUILD_OPTIONS.contains(&key) {
            build.push(arg);
            build.extend(args.next());
        } else {
            rest.push(arg);
        }
    }
    (build, rest)
}

impl Test {
    /// Runs the tests.
    pub fn run(mut self) -> Result<ExitCode> {
        if self.killbill && self.args.is_empty() {
            self.args = CONFORMANCE.map(str::to_owned).into();
        }
        let begun = Instant::now();
        let progress = Progress::new(std::io::stderr());
        let given = self.given.given();
        let containers = self.servers != Servers::None && compose::available();
        if self.servers != Servers::None && !containers {
            install::servers(&given, &progress)?;
        }
        third_party::share(&progress);
        let nextest = NEXTEST.ensure(&progress)?;

        let scratch = Scratch::for_tests()?;
        let layout = scratch.layout.clone();
        let (abandoned, keep) = (layout.clone(), self.keep);
        let watch = signals::watch(First::End, move || clean(&abandoned, keep));
        let containers = containers.then(|| Compose::of(&layout));
        let outcome = (|| {
            let given = match &containers {
                Some(containers) => containers.start(&layout, given, self.killbill, &progress)?,
                None => given,
            };
            let stack = self.start(&layout, given, &nextest, &progress)?;
            watch.set(First::Tell);
            // The programs are built here, so that this is where the page can be compared with them.
            let fresh = self.servers != Servers::All || settings::is_fresh()?;
            let passed = self.passes(stack.as_ref(), &nextest, &Built::of(&layout), &watch);
            let stopped = stack.map_or(Ok(()), |stack| stack.stop(true));
            stopped.and(passed).map(|passed| passed && fresh)
        })();
        if let Some(containers) = containers {
            containers.stop(true)?;
        }
        if !matches!(outcome, Ok(true)) {
            keep_logs(&layout)?;
        }
        drop(scratch);
        clean(&layout, self.keep);
        progress.line(&format!("all of it took {}", seconds(begun.elapsed())));
        Ok(if outcome? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn start(
        &self,
        layout: &Layout,
        given: devstack::given::Given,
        nextest: &Path,
        progress: &Progress,
    ) -> Result<Option<Arc<Stack>>> {
        let built = Built::of(layout);
        let build_tests = || self.build_tests(nextest, &built, progress);
        let extent = match self.servers {
            Servers::None => return build_tests().map(|()| None),
            Servers::Basic => Extent::Servers,
            Servers::Cluster => Extent::Deps,
            Servers::All => Extent::All,
        };
        let build = || {
            workspace::build_programs(extent, progress)?;
            build_tests()
        };
        let impatience =
            IMPATIENCE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let plan = Plan {
            layout: layout.clone(),
            durable: false,
            extent,
            keep_going: true,
            given,
            killbill: self.killbill,
            extra: BTreeMap::from([("instance-worker".to_owned(), impatience)]),
        };
        let stack = Stack::start(plan, progress, build)?;
        control::serve(&stack, stack.control_port())?;
        for failure in stack.failures() {
            progress.line(&format!("\n{failure}\n"));
        }
        if extent == Extent::All && stack.failures().is_empty() {
            progress.stage("administrator", || up::create_admin(&stack))?;
        }
        Ok(Some(stack))
    }

    /// Builds the tests, once for both passes, and notes what was built.
    fn build_tests(&self, nextest: &Path, built: &Built, progress: &Progress) -> Result<()> {
        let (build, _) = split(&self.args);
        let mut list = tools::call(nextest, "nextest");
        list.args(["list", "--list-type", "binaries-only", "--message-format", "json"]).args(&build);
        // Cargo would build all packages in spite of a choice of some.
        if !build.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package")) {
            list.arg("--workspace");
        }
        let file = File::create(&built.binaries).context("note the built tests")?;
        if !build::succeeds(list.stdout(file), "tests", progress)? {
            bail!("the tests could not be built; the compiler's messages stand above");
        }
        third_party::keep(progress);
        let file = File::create(&built.cargo).context("note the packages")?;
        run(cargo().args(["metadata", "--format-version", "1"]).stdout(file))
    }

    /// Runs what was built.
    fn nextest(&self, nextest: &Path, built: &Built, profile: &str) -> Command {
        let (_, filters) = split(&self.args);
        let mut command = tools::call(nextest, "nextest");
        command.args(["run", "--no-tests", "pass", "--profile", profile]);
        command.arg("--binaries-metadata").arg(&built.binaries);
        command.arg("--cargo-metadata").arg(&built.cargo);
        command.args(filters);
        if profile != "faults" && self.threads.is_none() {
            // A test that waits most of its time takes one of them, any other one two; see
            // `.config/nextest.toml`.
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            command.env(THREADS, (2 * cores).to_string());
        }
        command
    }

    fn passes(
        &self,
        stack: Option<&Arc<Stack>>,
        nextest: &Path,
        built: &Built,
        watch: &signals::Watch,
    ) -> Result<bool> {
        let env = match stack {
            Some(stack) => environment(stack)?,
            None => Vec::new(),
        };
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // What a test killed for good stays so; what ended by itself comes back.
            scope.spawn(|| {
                while let (false, Some(stack)) = (ended.load(Ordering::SeqCst), stack) {
                    for event in stack.tend() {
                        eprintln!("{event}");
                    }
                    std::thread::sleep(std::time::Duration::from_millis(200));
                }
            });
            let profiles: &[&str] = if self.quick { &["quick"] } else { &["default", "faults"] };
            let outcome = profiles.iter().try_fold(true, |passed, profile| {
                if watch.signals.try_recv().is_ok() {
                    bail!("interrupted");
                }
                let mut command = self.nextest(nextest, built, profile);
                command.envs(env.iter().cloned());
                Ok(succeeds(&mut command)? && passed)
            });
            ended.store(true, Ordering::SeqCst);
            outcome
        })
    }
}

/// What the tests read; see `libs/test-kit`.
fn environment(stack: &Stack) -> Result<Vec<(String, String)>> {
    let file = stack.write_file()?;
    let path = |path: &PathBuf| path.display().to_string();
    let mut env = vec![
        ("DATABASE_URL", file.database_url),
        ("TEST_AMQP_URL", file.amqp_url),
        ("TEST_REDIS_URL", file.redis_url),
        ("TEST_MAIL_URL", file.mail),
        ("TEST_SMTP", file.smtp),
        ("SAASODOO_STACK", path(&stack.layout().stack_file())),
        ("TEST_SCRATCH", path(&scratch::of_tests(stack.layout())?)),
    ];
    let killbill = stack.killbill();
    if let Some((url, user)) = &killbill {
        env.extend([
            ("TEST_KILLBILL_URL", url.clone()),
            ("TEST_KILLBILL_USERNAME", user.clone()),
            ("TEST_KILLBILL_PASSWORD", stack.secrets().killbill.password.clone()),
        ]);
    }
    if file.kubeconfig.as_os_str().is_empty() {
        return Ok(owned(env));
    }
    env.extend([
        ("KUBECONFIG", path(&file.kubeconfig)),
        ("TEST_KUBECTL", path(&file.kubectl)),
        ("TEST_DEVNODE_URL", file.devnode),
    ]);
    Ok(owned(env))
}

fn owned(env: Vec<(&str, String)>) -> Vec<(String, String)> {
    env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_choice_of_packages_concerns_the_build_and_filters_the_run() {
        let (build, run) = split(&strings("-p gateway --lib -E test(login) --package=e2e --no-capture name"));
        assert_eq!(build, strings("-p gateway --lib --package=e2e"));
        assert_eq!(run, strings("-E test(login) --no-capture name"));
    }

    #[test]
    fn filters_reach_nextest() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            test: Test,
        }
        let line = Line::parse_from(["test", "--servers", "none", "-p", "gateway", "-E", "test(login)"]);
        let built = Built { binaries: "b".into(), cargo: "c".into() };
        let command = line.test.nextest(Path::new("/x/cargo-nextest"), &built, "default");
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert_eq!(args[args.len() - 2..], ["-E", "test(login)"]);
        assert!(!args.contains(&"gateway".to_owned()));
    }
}
