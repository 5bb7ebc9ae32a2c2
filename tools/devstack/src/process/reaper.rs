//! No orphans: a tiny shell, the *reaper*, holds the read end of a pipe whose write end only this process
//! has. It is told every group that starts and ends; when the pipe closes because this process is gone, even
//! by SIGKILL, it ends what is left.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

use super::child::{StopSignal, spawn};

/// Reads `add <group> <signal> <group|leader>` and `del <group>` lines; at the end of its input it ends every
/// group that it still knows.
const REAPER: &str = r#"
trap '' TERM INT HUP QUIT
list=''
while read -r verb id signal whom; do
  case "$verb" in
    add) list="$list $id:$signal:$whom" ;;
    del) kept=''; for e in $list; do case "$e" in "$id":*) ;; *) kept="$kept $e" ;; esac; done; list="$kept" ;;
  esac
done
[ -n "$list" ] || exit 0
for e in $list; do
  id=${e%%:*}; rest=${e#*:}; signal=${rest%%:*}; whom=${rest#*:}
  if [ "$whom" = leader ]; then kill -s "$signal" "$id"; else kill -s "$signal" -- "-$id"; fi 2>/dev/null
done
tries=0
while [ "$tries" -lt 50 ]; do
  alive=''
  for e in $list; do id=${e%%:*}; kill -s 0 -- "-$id" 2>/dev/null && alive=yes; done
  [ -n "$alive" ] || exit 0
  sleep 0.1; tries=$((tries + 1))
done
for e in $list; do kill -s KILL -- "-${e%%:*}" 2>/dev/null; done
exit 0
"#;

/// The reaper, while it waits for our end.
static REAPER_PROCESS: Mutex<Option<Child>> = Mutex::new(None);

/// Whether [`end_all`] was called.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Whether everything is being ended in a hurry, so that nothing needs to be started again.
pub fn ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

fn tell_reaper(line: &str) -> Result<()> {
    let mut reaper = REAPER_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if reaper.is_none() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", REAPER, "saasodoo-reaper"]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        *reaper = Some(spawn(&mut command).context("start the reaper")?);
    }
    let pipe = reaper.as_mut().and_then(|child| child.stdin.as_mut()).context("the reaper has no input")?;
    pipe.write_all(line.as_bytes()).context("write to the reaper")
}

/// Ends every group that is still running, as the end of this process would, and waits for it. For a way out
/// in a hurry: nothing can be started afterwards.
pub fn end_all() {
    ENDING.store(true, Ordering::SeqCst);
    let mut reaper = REAPER_PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(child) = reaper.as_mut() {
        drop(child.stdin.take());
        // It always ends within its own deadline.
        let _: std::io::Result<ExitStatus> = child.wait();
    }
}

/// Has a process group ended when this process ends in any way. For groups that this module did not start.
pub fn guard(group: i32, stop: StopSignal) -> Result<()> {
    let signal = if stop == StopSignal::IntLeader { "INT" } else { "TERM" };
    let whom = if stop.to_group() { "group" } else { "leader" };
    tell_reaper(&format!("add {group} {signal} {whom}\n"))
}

/// Forgets a process group that has ended.
pub fn unguard(group: i32) -> Result<()> {
    tell_reaper(&format!("del {group}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reaper_ends_groups_when_its_input_closes() {
        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut reaper = Command::new("/bin/sh").args(["-c", REAPER]).stdin(Stdio::piped()).spawn().unwrap();
        reaper
            .stdin
            .take()
            .unwrap()
            .write_all(format!("add {pid} TERM group\nadd 999999 TERM group\ndel 999999\n").as_bytes())
            .unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(reaper.wait().unwrap().success());
    }

    #[test]
    fn the_reaper_kills_what_ignores_the_signal() {
        let script = "trap '' TERM; while :; do sleep 1; done";
        let mut child = Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let mut reaper = Command::new("/bin/sh").args(["-c", REAPER]).stdin(Stdio::piped()).spawn().unwrap();
        reaper
            .stdin
            .take()
            .unwrap()
            .write_all(format!("add {} TERM group\n", child.id()).as_bytes())
            .unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(reaper.wait().unwrap().success());
    }
}
