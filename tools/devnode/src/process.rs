//! One run of a container: a process group whose output goes to a log, or nothing at all for a simulated one.
//!
//! Knows how to start, signal and reap; what to run and when is not its concern.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use devstack::process::StopSignal;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::logs::{LogFile, Stream};

/// How long the output of a process that ended may still come from its own children.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Its working directory.
    pub dir: PathBuf,
    /// User and group when this process is root.
    pub user: Option<(u32, u32)>,
    /// What asks it to end.
    pub stop_signal: Signal,
}

impl Launch {
    /// A command that runs `program` as this launch would, in a process group of its own.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code as a shell reports it.
    pub code: i32,
}

impl Exit {
    /// The end by a signal.
    pub fn by(signal: Signal) -> Self {
        Self { code: 128 + signal as i32 }
    }

    /// From the status of a process.
    pub fn of(status: ExitStatus) -> Self {
        Self { code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()) }
    }
}

/// A run: started, perhaps ended.
#[derive(Debug, Clone)]
pub struct Run {
    kind: Kind,
    exit: watch::Receiver<Option<Exit>>,
}

#[derive(Debug, Clone)]
enum Kind {
    Process { group: Pid, stop_signal: Signal },
    Simulated(watch::Sender<Option<Exit>>),
}

impl Run {
    /// Starts a process. Its pid file lets the next run of this program find what this one left behind.
    pub fn start(launch: &Launch, log: Arc<LogFile>, pid_file: PathBuf) -> io::Result<Self> {
        let mut child =
            launch.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let group = Pid::from_raw(child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(i32::MAX));
        let stop =
            if launch.stop_signal == Signal::SIGINT { StopSignal::IntLeader } else { StopSignal::TermGroup };
        if let Err(error) = devstack::process::guard(group.as_raw(), stop) {
            tracing::warn!(error = format!("{error:#}"), "a process may outlive this program");
        }
        if let Err(error) = write_pid_file(&pid_file, group) {
            // Nobody would find it by its file, and another one would be started beside it, on the same
            // volume.
            let _ = killpg(group, Signal::SIGKILL);
            let _ = devstack::process::unguard(group.as_raw());
            tokio::spawn(async move { drop(child.wait().await) });
            return Err(error);
        }
        let (sender, exit) = watch::channel(None);
        let pumps = (
            tokio::spawn(pump(child.stdout.take(), Stream::Out, log.clone())),
            tokio::spawn(pump(child.stderr.take(), Stream::Err, log.clone())),
        );
        tokio::spawn(async move {
            let exit = wait_for(&mut child).await;
            // Like a container, a pod's process takes what it started with it.
            let _ = killpg(group, Signal::SIGKILL);
            let _ = devstack::process::unguard(group.as_raw());
            let _ = fs::remove_file(&pid_file);
            let _ = tokio::time::timeout(OUTPUT_GRACE, async {
                let _ = tokio::join!(pumps.0, pumps.1);
            })
            .await;
            log.close();
            sender.send_replace(Some(exit));
        });
        Ok(Self { kind: Kind::Process { group, stop_signal: launch.stop_signal }, exit })
    }

    /// Starts nothing; ends with 0 after `completes`, or when it is asked to.
    pub fn simulate(completes: Option<Duration>) -> Self {
        let (sender, exit) = watch::channel(None);
        if let Some(after) = completes {
            let sender = sender.clone();
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                finish(&sender, Exit { code: 0 });
            });
        }
        Self { kind: Kind::Simulated(sender), exit }
    }

    /// Waits for the end.
    pub async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        let result = match exit.wait_for(Option::is_some).await {
            Ok(exit) => *exit,
            Err(_) => None,
        };
        result.unwrap_or(Exit::by(Signal::SIGKILL))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        match &self.kind {
            Kind::Process { group, stop_signal: Signal::SIGINT } => {
                // PostgreSQL: only the postmaster is asked, it ends the others.
                let _ = kill(*group, Signal::SIGINT);
            }
            Kind::Process { group, stop_signal } => drop(killpg(*group, *stop_signal)),
            Kind::Simulated(sender) => finish(sender, Exit { code: 0 }),
        }
        self.resume();
    }

    /// Ends it at once.
    pub fn kill(&self) {
        match &self.kind {
            Kind::Process { group, .. } => signal_tree(*group, Signal::SIGKILL),
            Kind::Simulated(sender) => finish(sender, Exit::by(Signal::SIGKILL)),
        }
    }

    /// Stops it in its tracks, as a hang.
    pub fn pause(&self) {
        if let Kind::Process { group, .. } = &self.kind {
            signal_tree(*group, Signal::SIGSTOP);
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        if let Kind::Process { group, .. } = &self.kind {
            signal_tree(*group, Signal::SIGCONT);
        }
    }

    /// Whether there is no process behind it.
    pub fn is_simulated(&self) -> bool {
        matches!(self.kind, Kind::Simulated(_))
    }

    /// Asks it to end and kills it after the grace time.
    pub async fn end(&self, grace: Duration) -> Exit {
        self.terminate();
        if let Ok(exit) = tokio::time::timeout(grace, self.wait()).await {
            return exit;
        }
        self.kill();
        self.wait().await
    }
}

fn finish(sender: &watch::Sender<Option<Exit>>, exit: Exit) {
    sender.send_if_modified(|current| {
        let first = current.is_none();
        current.get_or_insert(exit);
        first
    });
}

async fn wait_for(child: &mut Child) -> Exit {
    child.wait().await.map_or(Exit::by(Signal::SIGKILL), Exit::of)
}

async fn pump(pipe: Option<impl AsyncRead + Unpin>, stream: Stream, log: Arc<LogFile>) {
    let Some(pipe) = pipe else { return };
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => log.append(stream, line.strip_suffix(b"\n").unwrap_or(&line)),
        }
    }
}

fn write_pid_file(file: &Path, group: Pid) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, format!("{group} {}", start_time(group).unwrap_or_default()))
}

/// The start time of a process in clock ticks since boot: with it, a process id cannot be mistaken.
fn start_time(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything; the fields after it do not.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19).map(str::to_owned)
}

/// Kills the process group of a pid file when it is still the one that was started. Tells whether there was
/// one.
pub fn end_leftover(pid_file: &Path) -> bool {
    let Ok(content) = fs::read_to_string(pid_file) else { return false };
    let _ = fs::remove_file(pid_file);
    let mut words = content.split_whitespace();
    let Some(group) = words.next().and_then(|word| word.parse().ok()).map(Pid::from_raw) else {
        return false;
    };
    let same = start_time(group).as_deref() == words.next();
    if same {
        signal_tree(group, Signal::SIGKILL);
    }
    same
}

/// Signals a process group and everything that descends from its leader: PostgreSQL's servers are in groups
/// of their own.
fn signal_tree(leader: Pid, signal: Signal) {
    // Looked up first: a process whose parent is gone has no descent.
    let others = descendants(leader);
    let _ = killpg(leader, signal);
    for pid in others {
        let _ = kill(pid, signal);
    }
}

fn descendants(root: Pid) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(i32, i32)> = processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect();
    let mut found = vec![root.as_raw()];
    let mut looked_at = 0;
    while let Some(&parent) = found.get(looked_at) {
        found.extend(parents.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid));
        looked_at += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            args: ["-c", script].map(OsString::from).to_vec(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            dir: dir.to_owned(),
            user: None,
            stop_signal: Signal::SIGTERM,
        }
    }

    #[tokio::test]
    async fn a_process_ends_with_its_code_and_its_output() {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(LogFile::create(&dir.path().join("log")).unwrap());
        let run = Run::start(&shell("echo hello; exit 3", dir.path()), log, dir.path().join("pid")).unwrap();

        assert_eq!(run.wait().await, Exit { code: 3 });

        let content = fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(content.ends_with(" stdout F hello\n"), "{content}");
        assert!(!dir.path().join("pid").exists());
    }

    #[tokio::test]
    async fn a_process_that_ignores_the_signal_is_killed_after_its_grace() {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(LogFile::create(&dir.path().join("log")).unwrap());
        let launch = shell("trap '' TERM; : > deaf; while :; do sleep 1; done", dir.path());
        let run = Run::start(&launch, log, dir.path().join("pid")).unwrap();
        // Before that it would end by the first signal.
        test_kit::eventually("the signal is ignored", Duration::from_secs(10), || async {
            dir.path().join("deaf").exists().then_some(())
        })
        .await;

        let exit = run.end(Duration::from_millis(100)).await;

        assert_eq!(exit, Exit::by(Signal::SIGKILL));
    }

    #[tokio::test]
    async fn a_leftover_is_ended_and_a_stranger_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(LogFile::create(&dir.path().join("log")).unwrap());
        let pid_file = dir.path().join("pid");
        let run = Run::start(&shell("sleep 60", dir.path()), log, pid_file.clone()).unwrap();
        let content = fs::read_to_string(&pid_file).unwrap();
        let stranger = dir.path().join("stranger");
        fs::write(&stranger, format!("{} 1", content.split_whitespace().next().unwrap())).unwrap();

        assert!(!end_leftover(&stranger));
        assert!(end_leftover(&pid_file));
        assert_eq!(run.wait().await, Exit::by(Signal::SIGKILL));
    }

    /// Two PostgreSQL servers on one volume would follow.
    #[tokio::test]
    async fn a_process_whose_pid_file_cannot_be_written_does_not_run_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(LogFile::create(&dir.path().join("log")).unwrap());
        let script = "echo $$ > number; sleep 60";
        // No folder can be made where there is a file.
        fs::write(dir.path().join("file"), "").unwrap();
        let no_place = dir.path().join("file/pid");

        let outcome = Run::start(&shell(script, dir.path()), log, no_place);

        assert!(outcome.is_err());
        let begun = std::time::Instant::now();
        let folder = dir.path().to_owned();
        test_kit::eventually("the end of the process", Duration::from_secs(10), || async {
            // Killed before it wrote its number, or gone by it.
            let number = fs::read_to_string(folder.join("number")).ok();
            let settled = number.is_some() || begun.elapsed() > Duration::from_secs(1);
            let runs = number.is_some_and(|number| is_running(number.trim()));
            (settled && !runs).then_some(())
        })
        .await;
    }

    fn is_running(pid: &str) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }
}
