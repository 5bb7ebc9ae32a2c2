//! Child processes of the local stack: each runs in a process group of its own, writes to a log file, is
//! awaited with a deadline and is stopped as a group.
//!
//! No orphans: see [`reaper`]. This module must not know what the processes are.

mod child;
mod reaper;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

pub use self::child::{StopSignal, spawn};
pub use self::reaper::{end_all, ending, guard, unguard};
pub use self::run::{DOWNLOAD, interrupt, run, run_foreground, run_foreground_with, run_within};

/// How often a condition is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(20);

/// How large a log may be when a process starts; above this it is moved aside first.
const LOG_KEEP: u64 = 20 << 20;

/// What to run. Values that are secret belong into `env` or a file, never into `args`.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Name for messages and for the log file.
    pub name: String,
    /// Program to run.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment on top of a minimal one (`PATH`, `HOME`, `LANG`, `TZ`); nothing else of ours is
    /// inherited.
    pub env: BTreeMap<String, String>,
    /// Working directory; the current one if `None`.
    pub dir: Option<PathBuf>,
    /// File that receives standard output and error (appended).
    pub log: PathBuf,
    /// User and group to run as, when this process is root.
    pub user: Option<(u32, u32)>,
    /// How it is asked to stop.
    pub stop: StopSignal,
    /// How long it may take to stop before it is killed.
    pub grace: Duration,
}

impl Spec {
    /// A process with usual settings: SIGTERM to its group, ten seconds to stop.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log_folder: &Path) -> Self {
        let name = name.into();
        let log = log_folder.join(format!("{name}.log"));
        Self {
            name,
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            dir: None,
            log,
            user: None,
            stop: StopSignal::TermGroup,
            grace: Duration::from_secs(10),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds one environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Adds environment variables.
    pub fn envs<I: IntoIterator<Item = (K, V)>, K: Into<String>, V: Into<String>>(mut self, vars: I) -> Self {
        self.env.extend(vars.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// Sets the signal that asks it to stop and how long it may take.
    pub fn stop_with(mut self, stop: StopSignal, grace: Duration) -> Self {
        self.stop = stop;
        self.grace = grace;
        self
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        for (name, value) in inherited() {
            command.env(name, value);
        }
        command.envs(&self.env).stdin(Stdio::null()).process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        if let Some((uid, gid)) = self.user {
            command.gid(gid).uid(uid);
        }
        let log = open_log(&self.log)?;
        command.stdout(log.try_clone().context("duplicate the log handle")?).stderr(log);
        Ok(command)
    }
}

/// The few variables of our environment that a child may see.
#[expect(
    clippy::disallowed_methods,
    reason = "the child's search path and home are this process's, not a setting"
)]
fn inherited() -> Vec<(&'static str, OsString)> {
    ["PATH", "HOME", "LANG", "TZ", "TMPDIR"]
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
        .collect()
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    if fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_KEEP) {
        fs::rename(path, path.with_extension("log.1")).with_context(|| format!("move {}", path.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

/// A running process and its group. Dropping it stops it.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    child: Child,
    group: Pid,
    status: Option<ExitStatus>,
    released: bool,
    log_start: u64,
}

impl Process {
    /// Starts `spec`. The process is in a group of its own and dies with this one.
    pub fn start(spec: Spec) -> Result<Self> {
        let mut command = spec.command()?;
        let log_start = fs::metadata(&spec.log).map_or(0, |meta| meta.len());
        let child = spawn(&mut command)
            .with_context(|| format!("start {} ({})", spec.name, spec.program.display()))?;
        let group = Pid::from_raw(i32::try_from(child.id()).context("process id out of range")?);
        let guarded = reaper::guard(group.as_raw(), spec.stop);
        let process = Self { spec, child, group, status: None, released: false, log_start };
        if let Err(error) = guarded {
            // Nobody would end it after us.
            let _: Result<(), Errno> = killpg(group, Signal::SIGKILL);
            return Err(error);
        }
        Ok(process)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// What it was started from.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Its process id, which is its group id as well.
    pub fn pid(&self) -> i32 {
        self.group.as_raw()
    }

    /// Its status if it has ended by itself or was stopped.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits until `probe` answers `true`. Fails when the process ends or the deadline passes, with the last
    /// lines of its log.
    pub fn wait_ready(&mut self, deadline: Duration, mut probe: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + deadline;
        loop {
            if probe() {
                return Ok(());
            }
            if let Some(why) = self.not_ready(Instant::now() >= end) {
                bail!("{why} (it may take {deadline:?} to start)");
            }
            thread::sleep(POLL);
        }
    }

    /// Why it will not get ready any more: it has ended, or its time is `over`.
    pub fn not_ready(&mut self, over: bool) -> Option<String> {
        let name = self.spec.name.clone();
        if let Some(status) = self.ended() {
            return Some(format!("{name} ended with {status} before it was ready{}", self.log_note()));
        }
        over.then(|| format!("{name} was not ready in time{}", self.log_note()))
    }

    /// Waits for the first line that it has written since it started and that `pick` accepts: how a server
    /// tells its chosen ports.
    pub fn wait_line<T>(&mut self, deadline: Duration, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        let mut found = None;
        let (log, from) = (self.spec.log.clone(), self.log_start);
        self.wait_ready(deadline, || {
            found = read_from(&log, from).lines().find_map(&pick);
            found.is_some()
        })?;
        found.ok_or_else(|| anyhow!("no line of {} was accepted", self.spec.name))
    }

    /// The last lines that it wrote since it started.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = read_from(&self.spec.log, self.log_start);
        let all: Vec<&str> = text.lines().collect();
        let from = all.len().saturating_sub(lines);
        all.get(from..).unwrap_or_default().join("\n")
    }

    /// The last lines of its log, to be put beneath a message.
    fn log_note(&self) -> String {
        let tail = self.log_tail(20);
        if tail.is_empty() { String::new() } else { format!("; the end of its log:\n{tail}") }
    }

    /// Asks it to stop, kills its group after the grace time, and waits until nothing of the group is left.
    pub fn stop(&mut self) -> Result<()> {
        let (signal, grace) = (self.spec.stop, self.spec.grace);
        if self.ended().is_none() {
            deliver(self.group, signal);
        }
        if self.gone_within(grace) {
            return self.release();
        }
        self.kill()
    }

    /// Kills its group at once and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        match killpg(self.group, Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("kill {}", self.spec.name)),
        }
        if !self.gone_within(Duration::from_secs(10)) {
            bail!("{} (process group {}) does not end", self.spec.name, self.group);
        }
        self.release()
    }

    fn gone_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        loop {
            let ended = self.ended().is_some();
            if ended && (!self.spec.stop.to_group() || !group_alive(self.group)) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(POLL);
        }
    }

    fn release(&mut self) -> Result<()> {
        if !self.released {
            self.released = true;
            reaper::unguard(self.group.as_raw())?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.released
            && !ending()
            && let Err(error) = self.stop()
        {
            eprintln!("{error:#}");
        }
    }
}

fn deliver(group: Pid, stop: StopSignal) {
    let sent = if stop.to_group() { killpg(group, stop.signal()) } else { kill(group, stop.signal()) };
    // Gone already is what we want; the wait that follows sees anything else.
    let _: Result<(), Errno> = sent;
}

fn group_alive(group: Pid) -> bool {
    killpg(group, None).is_ok()
}

/// Whether a process with this id exists.
pub fn alive(pid: i32) -> bool {
    pid > 0 && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

/// Sends SIGTERM to a process that is not a child of ours, waits for its end, and kills it after `grace`.
pub fn end(pid: i32, grace: Duration) -> Result<()> {
    for (signal, limit) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, Duration::from_secs(5))] {
        if !alive(pid) {
            return Ok(());
        }
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("signal process {pid}")),
        }
        if wait_until(limit, || !alive(pid)) {
            return Ok(());
        }
    }
    bail!("process {pid} does not end")
}

/// Looks at `condition` until it is true or the time is over; tells which.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

fn read_from(path: &Path, offset: u64) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path)
        && file.seek(SeekFrom::Start(offset)).is_ok()
    {
        let _: std::io::Result<usize> = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(folder: &Path, name: &str, script: &str) -> Spec {
        Spec::new(name, "/bin/sh", folder).args(["-c", script])
    }

    #[test]
    fn a_line_that_tells_the_port_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start(shell(folder.path(), "ports", "echo noise; echo port 4711; sleep 60")).unwrap();
        let port = process
            .wait_line(Duration::from_secs(5), |line| line.strip_prefix("port ")?.parse::<u16>().ok())
            .unwrap();
        assert_eq!(port, 4711);
        process.stop().unwrap();
        assert!(!alive(process.pid()));
    }

    #[test]
    fn stopping_ends_the_whole_group_even_when_it_ignores_the_signal() {
        let folder = tempfile::tempdir().unwrap();
        let spec = shell(
            folder.path(),
            "stubborn",
            "trap '' TERM; sleep 60 & echo child $!; while :; do wait; done",
        )
        .stop_with(StopSignal::TermGroup, Duration::from_millis(200));
        let mut process = Process::start(spec).unwrap();
        let child = process
            .wait_line(Duration::from_secs(5), |line| line.strip_prefix("child ")?.parse::<i32>().ok())
            .unwrap();
        process.stop().unwrap();
        assert!(wait_until(Duration::from_secs(5), || !alive(child)));
    }

    #[test]
    fn a_process_that_ends_early_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start(shell(folder.path(), "broken", "echo no such luck; exit 3")).unwrap();
        let error = process.wait_ready(Duration::from_secs(5), || false).unwrap_err().to_string();
        assert!(error.contains("broken ended") && error.contains("no such luck"), "{error}");
    }

    #[test]
    fn only_named_variables_reach_a_child() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start(shell(folder.path(), "env", "env; echo done").env("GIVEN", "yes")).unwrap();
        process.wait_line(Duration::from_secs(5), |line| (line == "done").then_some(())).unwrap();
        let log = process.log_tail(100);
        assert!(log.contains("GIVEN=yes") && !log.contains("CARGO_"), "{log}");
    }
}
