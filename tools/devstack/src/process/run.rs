//! Commands that run to their end: with their output in hand and a deadline, or in the foreground.

use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::child::{StopSignal, spawn};
use super::reaper;

/// How long a command may take that works on this machine alone. `initdb` is the slowest of them.
const DEADLINE: Duration = Duration::from_mins(2);

/// How long a command may take that loads files from the network, or waits for another cargo.
pub const DOWNLOAD: Duration = Duration::from_mins(20);

/// The longest time between two looks at a command that runs.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Runs a command to its end and gives its standard output; fails with its standard error. `input` goes to
/// its standard input. A command that hangs is killed after two minutes: whoever waits for it would hang as
/// well.
pub fn run(command: &mut Command, input: Option<&str>) -> Result<String> {
    run_within(DEADLINE, command, input)
}

/// The same for a command that may take another time, such as one that loads files from the network.
pub fn run_within(deadline: Duration, command: &mut Command, input: Option<&str>) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).process_group(0);
    let mut child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        .with_context(|| format!("start {name}"))?;
    let group = i32::try_from(child.id()).context("process id out of range")?;
    reaper::guard(group, StopSignal::TermGroup)?;
    let (output, errors) = (read(child.stdout.take()), read(child.stderr.take()));
    let writer = child.stdin.take().zip(input.map(str::to_owned)).map(|(mut pipe, text)| {
        // A child that does not read all of it tells why by its status.
        thread::spawn(move || drop(pipe.write_all(text.as_bytes())))
    });
    let ended = end_within(deadline, &mut child).with_context(|| format!("wait for {name}"));
    if !matches!(ended, Ok(Some(_))) {
        // Its children as well: they hold its output open, and we would wait for that.
        let _: Result<(), Errno> = killpg(Pid::from_raw(group), Signal::SIGKILL);
        child.wait().with_context(|| format!("wait for {name}"))?;
    }
    reaper::unguard(group)?;
    if let Some(writer) = writer {
        writer.join().map_err(|_| anyhow!("the writer to {name} panicked"))?;
    }
    let (output, errors) = (text(output)?, text(errors)?);
    let Some(status) = ended? else {
        bail!("{name} did not end within {deadline:?} and was killed: {}", errors.trim());
    };
    if !status.success() {
        bail!("{name} ended with {status}: {}", errors.trim());
    }
    Ok(output)
}

/// Waits for the end of a child; `None` when the time is over first.
fn end_within(deadline: Duration, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

type Reader = JoinHandle<std::io::Result<Vec<u8>>>;

/// Reads a pipe to its end beside the child, which would wait for us when the pipe is full.
fn read(pipe: Option<impl Read + Send + 'static>) -> Reader {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes))?;
        Ok(bytes)
    })
}

fn text(reader: Reader) -> Result<String> {
    let bytes = reader.join().map_err(|_| anyhow!("a reader of output panicked"))?;
    Ok(String::from_utf8_lossy(&bytes.context("read the output")?).into_owned())
}

/// Runs a command in the foreground, with our standard streams, in a process group of its own. `started` is
/// told the group, so that signals can be passed on.
pub fn run_foreground(command: &mut Command, started: impl FnOnce(i32)) -> Result<ExitStatus> {
    run_foreground_with(command, started, |_| Ok(()))
}

/// The same with the child in hand, for whoever reads what it writes; `work` ends when the child closes its
/// streams.
pub fn run_foreground_with(
    command: &mut Command,
    started: impl FnOnce(i32),
    work: impl FnOnce(&mut Child) -> Result<()>,
) -> Result<ExitStatus> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child =
        spawn(command.process_group(0).stdin(Stdio::null())).with_context(|| format!("start {name}"))?;
    let group = i32::try_from(child.id()).context("process id out of range")?;
    reaper::guard(group, StopSignal::TermGroup)?;
    started(group);
    let worked = work(&mut child);
    let status = child.wait().with_context(|| format!("wait for {name}"))?;
    reaper::unguard(group)?;
    worked?;
    Ok(status)
}

/// Passes a signal on to a process group.
pub fn interrupt(group: i32) {
    // A group that has ended needs no signal.
    let _: Result<(), Errno> = killpg(Pid::from_raw(group), Signal::SIGINT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{alive, wait_until};
    use nix::sys::signal::SigSet;

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let script = "sleep 60 & echo $! >&2; wait";
        let error = run_within(Duration::from_millis(300), Command::new("sh").args(["-c", script]), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("did not end within 300ms"), "{error}");
        let child = error.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(wait_until(Duration::from_secs(5), || !alive(child)));
    }

    #[test]
    fn input_and_output_may_be_larger_than_a_pipe() {
        let input = "x".repeat(1 << 20);
        assert_eq!(run(&mut Command::new("cat"), Some(&input)).unwrap(), input);
        let error = run(Command::new("sh").args(["-c", "echo no >&2; exit 3"]), None).unwrap_err();
        assert!(error.to_string().ends_with(": no"), "{error}");
    }

    #[test]
    fn a_child_has_no_signal_blocked() {
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGTERM);
        blocked.thread_block().unwrap();
        let status = run(Command::new("grep").args(["SigBlk", "/proc/self/status"]), None).unwrap();
        assert!(status.trim().ends_with("0000000000000000"), "{status}");
        assert!(SigSet::thread_get_mask().unwrap().contains(Signal::SIGTERM));
    }
}
