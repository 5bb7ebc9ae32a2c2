//! `up`, `down` and `status`: the developer's stack in `target/dev`.
//!
//! One process runs a stack and holds the lock of its folder: `up` itself, or with `--detach` a copy of it
//! that stays behind. It starts again what ends by itself and serves the control interface.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use devstack::layout::Layout;
use devstack::process;
use devstack::progress::{Progress, seconds};
use devstack::services;
use devstack::stack::{ADMIN_EMAIL, Extent, Plan, Stack};
use devstack::stackfile::StackFile;
use devstack::{control, http};

use crate::compose::{self, Compose};
use crate::given::{self, GivenArgs};
use crate::signals::{self, First};
use crate::{demo, install, table, third_party, workspace};

/// How much to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// Servers, cluster and node, but no service
    Deps,
    /// PostgreSQL, Redis, RabbitMQ and the mail sink alone
    Servers,
}

/// Who keeps the books of billing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Billing {
    /// The embedded ledger
    Ledger,
    /// Kill Bill
    Killbill,
}

/// Start the local stack
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub struct Up {
    /// Return when everything runs; a small supervisor stays behind
    #[arg(long)]
    detach: bool,
    /// Do not run the main job (no demonstration customer, no instance)
    #[arg(long)]
    empty: bool,
    /// Start a part of it
    #[arg(long)]
    only: Option<Only>,
    /// Report a service that does not get ready, and start the others all the same
    #[arg(long)]
    keep_going: bool,
    /// Run the programs as they are, without building them
    #[arg(long)]
    no_build: bool,
    /// Who keeps the books of billing: the embedded ledger, or a Kill Bill that is started too (KILLBILL_URL:
    /// the one there)
    #[arg(long, value_enum, default_value = "ledger")]
    billing: Billing,
    /// More environment for a service, `SERVICE:NAME=VALUE`, or for all of them, `*:NAME=VALUE`; may be
    /// repeated
    #[arg(long = "set", value_parser = setting)]
    settings: Vec<(String, String, String)>,
    #[command(flatten)]
    given: GivenArgs,
    /// This is the process that stays behind
    #[arg(long, hide = true)]
    supervised: bool,
}

/// Stop the local stack
#[derive(Debug, Args)]
pub struct Down {
    /// Delete all its data as well
    #[arg(long)]
    purge: bool,
}

fn setting(text: &str) -> Result<(String, String, String), String> {
    let (service, rest) = text.split_once(':').ok_or("expected SERVICE:NAME=VALUE")?;
    let (name, value) = rest.split_once('=').ok_or("expected SERVICE:NAME=VALUE")?;
    if service != "*" && services::find(service).is_none() {
        return Err(format!("there is no service {service}"));
    }
    Ok((service.to_owned(), name.to_owned(), value.to_owned()))
}

/// Settings by service.
fn by_service(settings: &[(String, String, String)]) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut all = BTreeMap::<String, BTreeMap<String, String>>::new();
    for (service, name, value) in settings {
        all.entry(service.clone()).or_default().insert(name.clone(), value.clone());
    }
    all
}

/// Marks a stack whose start is complete; removed at the next start.
fn ready_file(layout: &Layout) -> std::path::PathBuf {
    layout.dir.join("ready")
}

impl Up {
    /// Starts the stack.
    pub fn run(self, stack: &str) -> Result<ExitCode> {
        let layout = workspace::named_layout(stack)?;
        fs::create_dir_all(layout.logs()).with_context(|| format!("create {}", layout.dir.display()))?;
        let progress = Progress::new(std::io::stdout());
        if let Some(supervisor) = running(&layout)? {
            progress.line(&format!("the stack runs already (process {supervisor})"));
            let stack = read_file(&layout)?;
            table::print(&progress, &stack, &layout.stack_file(), demo::earlier(&layout.dir).as_ref());
            return Ok(ExitCode::SUCCESS);
        }
        if !self.supervised {
            self.prepare(&layout, &progress)?;
        }
        if self.detach && !self.supervised {
            return Self::leave_behind(&layout);
        }
        self.supervise(&layout, &progress)
    }

    /// What may need a person: packages and their password.
    fn prepare(&self, layout: &Layout, progress: &Progress) -> Result<()> {
        let given = self.given.given();
        let names = given::names(&given);
        if !names.is_empty() {
            progress.line(&format!("used as given by the environment: {}", names.join(", ")));
        }
        if !self.no_build {
            third_party::share(progress);
        }
        if compose::available() {
            return Ok(());
        }
        install::servers(&given, progress)?;
        if given.cluster.is_none() && self.extent() >= Extent::Deps {
            install::go(layout)?;
        }
        Ok(())
    }

    fn extent(&self) -> Extent {
        match self.only {
            Some(Only::Servers) => Extent::Servers,
            Some(Only::Deps) => Extent::Deps,
            None => Extent::All,
        }
    }

    fn supervise(&self, layout: &Layout, progress: &Progress) -> Result<ExitCode> {
        let begun = Instant::now();
        let lock =
            File::options().create(true).append(true).open(layout.lock_file()).context("open the lock")?;
        lock.try_lock().context("another process runs this stack")?;
        fs::write(layout.lock_file(), std::process::id().to_string()).context("write the lock")?;
        drop(fs::remove_file(ready_file(layout)));
        drop(fs::remove_file(layout.stack_file()));
        let watch = signals::watch(First::End, || {});

        let mut given = self.given.given();
        let containers = compose::available().then(|| Compose::of(layout));
        if let Some(containers) = &containers {
            given = containers.start(layout, given, self.billing == Billing::Killbill, progress)?;
        }
        let plan = Plan {
            layout: layout.clone(),
            durable: true,
            extent: self.extent(),
            keep_going: self.keep_going,
            given,
            killbill: self.billing == Billing::Killbill,
            extra: by_service(&self.settings),
        };
        let stack = Stack::start(plan, progress, || {
            if self.no_build { Ok(()) } else { workspace::build_programs(self.extent(), progress) }
        })?;
        control::serve(&stack, stack.control_port())?;
        let file = stack.write_file()?;
        for failure in stack.failures() {
            progress.line(&failure);
        }
        let demo = if self.extent() == Extent::All {
            let administrator = progress.stage("administrator", || create_admin(&stack));
            if !self.keep_going {
                administrator?;
            }
            (!self.empty).then(|| demo::run(&file, &layout.dir, progress))
        } else {
            None
        };
        let demo = demo.transpose()?;
        table::print(progress, &file, &layout.stack_file(), demo.as_ref());
        table::next_steps(progress, &file);
        progress.line(&format!("\nEverything runs after {}.", seconds(begun.elapsed())));
        if !self.supervised {
            progress.line("Ctrl-C stops all of it.");
        }
        fs::write(ready_file(layout), b"").context("write the mark of a complete start")?;

        watch.set(First::Tell);
        tend_until(&stack, &watch, progress);
        progress.line("\nstopping");
        drop(fs::remove_file(layout.stack_file()));
        stack.stop(false)?;
        containers.map_or(Ok(()), |containers| containers.stop(false))?;
        drop(lock);
        Ok(ExitCode::SUCCESS)
    }

    /// Starts a copy of this process that stays, and shows what it writes until everything runs.
    fn leave_behind(layout: &Layout) -> Result<ExitCode> {
        signals::unblock();
        let log = layout.logs().join("up.log");
        drop(fs::remove_file(ready_file(layout)));
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut child = Command::new(std::env::current_exe().context("find the running program")?)
            .args(std::env::args_os().skip(1))
            .arg("--supervised")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .context("start the supervisor")?;
        let mut shown = 0;
        loop {
            let status = child.try_wait()?;
            let ready = ready_file(layout).exists();
            shown = show(&log, shown)?;
            if let Some(status) = status {
                bail!("the stack did not start ({status})");
            }
            if ready {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn show(log: &Path, from: u64) -> Result<u64> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    let read = file.read_to_end(&mut bytes)?;
    std::io::stdout().lock().write_all(&bytes)?;
    Ok(from + u64::try_from(read)?)
}

/// Keeps the stack running until a signal comes.
fn tend_until(stack: &Arc<Stack>, watch: &signals::Watch, progress: &Progress) {
    loop {
        match watch.signals.recv_timeout(Duration::from_millis(200)) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        for event in stack.tend() {
            progress.line(&event);
        }
    }
}

/// Makes the first administrator, once for each data folder.
pub fn create_admin(stack: &Stack) -> Result<()> {
    let mark = stack.layout().dir.join("admin-created");
    if mark.exists() {
        return Ok(());
    }
    let service = services::find("user-service").context("there is no user-service")?;
    let password = stack.secrets().admin.as_str();
    let args =
        ["admin", "create", "--email", ADMIN_EMAIL, "--first-name", "Local", "--last-name", "Administrator"];
    stack.run_service(service, &args, &[("ADMIN_PASSWORD", password)], Some(&format!("{password}\n")))?;
    fs::write(&mark, b"").with_context(|| format!("write {}", mark.display()))
}

/// The process that runs the stack, if one does.
fn running(layout: &Layout) -> Result<Option<i32>> {
    let Ok(file) = File::open(layout.lock_file()) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let text = fs::read_to_string(layout.lock_file()).context("read the lock")?;
            Ok(Some(text.trim().parse().context("the lock names no process")?))
        }
        Err(TryLockError::Error(error)) => Err(error).context("look at the lock"),
    }
}

/// The description of the running stack.
pub fn read_file(layout: &Layout) -> Result<StackFile> {
    let path = layout.stack_file();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(_) if running(layout)?.is_some() => {
            bail!("the stack is still starting: `cargo xtask status` tells how far it is")
        }
        Err(_) => bail!("no stack runs: `cargo xtask up` starts it"),
    };
    serde_json::from_slice(&bytes).with_context(|| format!("read {}", path.display()))
}

impl Down {
    /// Stops the stack.
    pub fn run(self, stack: &str) -> Result<ExitCode> {
        signals::unblock();
        let layout = workspace::named_layout(stack)?;
        let progress = Progress::new(std::io::stdout());
        match running(&layout)? {
            Some(supervisor) => {
                progress.stage("stop", || {
                    process::end(supervisor, Duration::from_mins(2))?;
                    if running(&layout)?.is_some() {
                        bail!("the lock of {} is still held", layout.dir.display());
                    }
                    Ok(())
                })?;
            }
            None => progress.line("no stack runs"),
        }
        Compose::of(&layout).stop(self.purge)?;
        if self.purge {
            Stack::purge(&layout)?;
            progress.line(&format!("  deleted {}", layout.dir.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints the parts of the running stack.
pub fn status(stack: &str) -> Result<ExitCode> {
    signals::unblock();
    let layout = workspace::named_layout(stack)?;
    let progress = Progress::new(std::io::stdout());
    if running(&layout)?.is_none() {
        progress.line("no stack runs");
        return Ok(ExitCode::FAILURE);
    }
    if let Some(since) = starting(&layout) {
        progress.line(&format!(
            "the stack is starting, for {} now; what it does: {}",
            seconds(since),
            stage_of(&layout)
        ));
        return Ok(ExitCode::FAILURE);
    }
    let stack = read_file(&layout)?;
    let parts = http::get(&format!("{}/", stack.control)).send()?.json()?;
    let mut all_well = true;
    for (name, part) in parts.as_object().context("no list of parts")? {
        let ready = part.get("ready").and_then(serde_json::Value::as_bool) == Some(true);
        all_well &= ready;
        let state = part.get("state").and_then(serde_json::Value::as_str).unwrap_or_default();
        let state = if state == "running" && !ready { "not ready" } else { state };
        let pid =
            part.get("pid").and_then(serde_json::Value::as_i64).map_or("-".to_owned(), |pid| pid.to_string());
        let restarts = part.get("restarts").and_then(serde_json::Value::as_i64).unwrap_or_default();
        let address = address_of(&stack, name);
        progress.line(&format!("  {name:<22} {state:<10} process {pid:<8} restarts {restarts:<4} {address}"));
    }
    table::print(&progress, &stack, &layout.stack_file(), demo::earlier(&layout.dir).as_ref());
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// For how long a stack that runs has not been complete.
fn starting(layout: &Layout) -> Option<Duration> {
    if layout.stack_file().exists() {
        return None;
    }
    // The lock is written once, at the start.
    let begun = fs::metadata(layout.lock_file()).and_then(|file| file.modified()).ok()?;
    Some(begun.elapsed().unwrap_or_default())
}

/// The last thing that a start told, where it wrote to a file.
fn stage_of(layout: &Layout) -> String {
    let log = fs::read_to_string(layout.logs().join("up.log")).unwrap_or_default();
    let last = log.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(|| "see its terminal".to_owned(), |line| line.trim().to_owned())
}

/// Where a part answers.
fn address_of(stack: &StackFile, name: &str) -> String {
    let after_login =
        |url: &str| url.rsplit_once('@').map_or_else(String::new, |(_, place)| place.to_owned());
    match name {
        "postgres" => after_login(&stack.database_url),
        "redis" => after_login(&stack.redis_url),
        "rabbitmq" => after_login(&stack.amqp_url),
        "mail-sink" => format!("{}, SMTP {}", stack.mail, stack.smtp),
        "paynow-sim" => format!("switch {}", stack.paynow),
        "devnode" => format!("ingress {}, faults {}", stack.ingress, stack.devnode),
        service => match (stack.services.get(service), stack.grpc.get(service)) {
            (Some(http), Some(grpc)) => {
                format!("health and metrics {http}, gRPC {}", grpc.trim_start_matches("http://"))
            }
            _ => String::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_a_service_that_exists() {
        assert!(setting("gateway:LOG_LEVEL=debug").is_ok());
        assert_eq!(setting("*:A=b=c").unwrap(), ("*".to_owned(), "A".to_owned(), "b=c".to_owned()));
        assert!(setting("nobody:A=b").is_err() && setting("gateway:A").is_err());
    }

    #[test]
    fn settings_of_one_service_come_together() {
        let all = by_service(&[setting("gateway:A=1").unwrap(), setting("gateway:B=2").unwrap()]);
        assert_eq!(all.get("gateway").map(BTreeMap::len), Some(2));
    }

    #[test]
    fn a_lock_that_nobody_holds_means_no_stack() {
        let folder = tempfile::tempdir().unwrap();
        let layout = workspace::layout(folder.path().to_owned()).unwrap();
        assert_eq!(running(&layout).unwrap(), None);
        fs::write(layout.lock_file(), "4711").unwrap();
        assert_eq!(running(&layout).unwrap(), None);
        let held = File::open(layout.lock_file()).unwrap();
        held.try_lock().unwrap();
        assert_eq!(running(&layout).unwrap(), Some(4711));
    }
}
