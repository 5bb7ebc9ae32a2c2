//! A supervised process: what starts it, how its readiness is seen, and how it is started again, with
//! back-off, when it ends by itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::process::{Process, Spec};

/// A process that lived this long starts over with the shortest back-off.
const STEADY: Duration = Duration::from_mins(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// How a unit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its process runs.
    Running,
    /// Its process ended by itself and is started again soon.
    Ended,
    /// It was stopped on purpose.
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
        })
    }
}

/// Tells whether the process does its work.
pub type Probe = Arc<dyn Fn() -> bool + Send + Sync>;

/// How often a part that starts is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);

/// A start that would change nothing: the part runs without what was asked for.
#[derive(Debug)]
pub struct AlreadyRuns(String);

impl fmt::Display for AlreadyRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs already and takes another environment only at its start: stop or kill it first",
            self.0
        )
    }
}

impl std::error::Error for AlreadyRuns {}

/// A supervised process.
pub struct Unit {
    spec: Spec,
    probe: Probe,
    deadline: Duration,
    process: Option<Process>,
    wanted: bool,
    begun: Instant,
    failures: u32,
    restarts: u32,
    retry_at: Option<Instant>,
    overlay: Overlay,
}

/// What a test wants different until the next start by hand.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overlay {
    /// More environment.
    pub env: BTreeMap<String, String>,
    /// Whether it is started again when it ends by itself.
    pub restart: bool,
}

impl Default for Overlay {
    fn default() -> Self {
        Self { env: BTreeMap::new(), restart: true }
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit")
            .field("name", &self.spec.name)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Unit {
    /// A unit that does not run yet; a start waits up to `deadline` for `probe`.
    pub fn new(spec: Spec, deadline: Duration, probe: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            spec,
            probe: Arc::new(probe),
            deadline,
            process: None,
            wanted: false,
            begun: Instant::now(),
            failures: 0,
            restarts: 0,
            retry_at: None,
            overlay: Overlay::default(),
        }
    }

    /// Starts it with an overlay and waits until it is ready. When it runs already, only what is in force can
    /// be asked for: another overlay would be silently nothing. The unit is locked for moments only, so that
    /// others can look at it, or stop it, while it starts.
    pub fn start_with(unit: &Mutex<Self>, overlay: Overlay) -> Result<()> {
        {
            let mut unit = lock(unit);
            if unit.state() != State::Running {
                unit.overlay = overlay;
                unit.launch()?;
            } else if overlay != Overlay::default() && overlay != unit.overlay {
                bail!(AlreadyRuns(unit.spec.name.clone()));
            }
        }
        Self::wait_ready(unit)
    }

    /// Starts it unless it runs, and waits until it is ready. One that does not get ready is wanted all the
    /// same.
    pub fn start(unit: &Mutex<Self>) -> Result<()> {
        Self::start_with(unit, Overlay::default())
    }

    fn wait_ready(unit: &Mutex<Self>) -> Result<()> {
        let (probe, deadline) = {
            let unit = lock(unit);
            (Arc::clone(&unit.probe), unit.deadline)
        };
        let end = Instant::now() + deadline;
        loop {
            let ready = probe();
            let mut unit = lock(unit);
            let Some(process) = unit.process.as_mut() else {
                bail!("{} was stopped while it started", unit.spec.name);
            };
            match process.not_ready(Instant::now() >= end) {
                _ if ready => return Ok(()),
                Some(why) => bail!("{why} (it may take {deadline:?} to start)"),
                None => {}
            }
            drop(unit);
            thread::sleep(POLL);
        }
    }

    fn launch(&mut self) -> Result<()> {
        self.wanted = true;
        self.retry_at = None;
        self.begun = Instant::now();
        // The old process leaves first: dropping it ends what is left of its group.
        self.process = None;
        self.process = Some(Process::start(self.spec.clone().envs(self.overlay.env.clone()))?);
        Ok(())
    }

    /// Stops it; it stays stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.wanted = false;
        self.process.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// Kills it and leaves it stopped.
    pub fn kill_for_good(&mut self) -> Result<()> {
        self.wanted = false;
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Kills it as a crash would: it is started again with back-off.
    pub fn crash(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Process::kill)
    }

    /// How it stands.
    pub fn state(&mut self) -> State {
        let running = self.process.as_mut().is_some_and(|process| process.ended().is_none());
        match (running, self.wanted) {
            (true, _) => State::Running,
            (false, true) => State::Ended,
            (false, false) => State::Stopped,
        }
    }

    /// What tells whether it does its work. It may take seconds, so it is asked without the unit.
    pub fn probe(&self) -> Probe {
        Arc::clone(&self.probe)
    }

    /// Its process id while it runs.
    pub fn pid(&mut self) -> Option<i32> {
        (self.state() == State::Running).then(|| self.process.as_ref().map(Process::pid)).flatten()
    }

    /// Its environment, without an overlay.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.spec.env
    }

    /// How often it was started again.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Starts it again when it ended by itself and its back-off is over. Returns what happened, for the log.
    pub fn tend(&mut self, now: Instant) -> Option<String> {
        if self.state() != State::Ended || !self.overlay.restart {
            return None;
        }
        let Some(retry_at) = self.retry_at else {
            self.failures = if now.duration_since(self.begun) >= STEADY { 0 } else { self.failures + 1 };
            let pause = backoff(self.failures);
            self.retry_at = Some(now + pause);
            let how = self
                .process
                .as_mut()
                .and_then(Process::ended)
                .map_or_else(String::new, |s| format!(" with {s}"));
            return Some(format!("{} ended{how}; started again in {pause:?}", self.spec.name));
        };
        if now < retry_at {
            return None;
        }
        self.restarts += 1;
        match self.launch() {
            Ok(()) => Some(format!("{} started again", self.spec.name)),
            Err(error) => {
                self.retry_at = Some(now + LONGEST_BACKOFF);
                Some(format!("{} could not be started: {error:#}", self.spec.name))
            }
        }
    }
}

fn lock(unit: &Mutex<Unit>) -> MutexGuard<'_, Unit> {
    unit.lock().unwrap_or_else(PoisonError::into_inner)
}

fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF
        .saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX))
        .min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::wait_until;

    fn unit(script: &str) -> (tempfile::TempDir, Mutex<Unit>) {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec::new("unit", "/bin/sh", folder.path()).args(["-c", script]);
        (folder, Mutex::new(Unit::new(spec, Duration::from_secs(5), || true)))
    }

    #[test]
    fn back_off_doubles_up_to_its_limit() {
        let pauses: Vec<u128> = [0, 1, 2, 3, 7, 60].map(|n| backoff(n).as_millis()).into();
        assert_eq!(pauses, [500, 500, 1000, 2000, 30_000, 30_000]);
    }

    #[test]
    fn a_crashed_unit_is_started_again_after_its_back_off() {
        let (_folder, unit) = unit("sleep 60");
        Unit::start(&unit).unwrap();
        let mut unit = lock(&unit);
        let first = unit.pid().unwrap();
        unit.crash().unwrap();
        assert_eq!(unit.state(), State::Ended);
        let now = Instant::now();
        assert!(unit.tend(now).unwrap().contains("ended"));
        assert_eq!(unit.tend(now + Duration::from_millis(100)), None);
        unit.tend(now + Duration::from_secs(1)).unwrap();
        assert_ne!(unit.pid().unwrap(), first);
        assert_eq!(unit.restarts(), 1);
    }

    #[test]
    fn a_unit_that_shall_not_come_back_stays_down() {
        let (_folder, unit) = unit("[ \"$MODE\" = quick ] || sleep 60");
        Unit::start_with(&unit, overlay("quick")).unwrap();
        assert!(wait_until(Duration::from_secs(5), || lock(&unit).state() == State::Ended));
        let tended = |after| lock(&unit).tend(Instant::now() + after);
        assert_eq!((tended(Duration::ZERO), tended(STEADY)), (None, None));
        Unit::start(&unit).unwrap();
        assert_eq!(lock(&unit).state(), State::Running);
    }

    #[test]
    fn a_stopped_unit_stays_stopped() {
        let (_folder, unit) = unit("sleep 60");
        Unit::start(&unit).unwrap();
        let mut unit = lock(&unit);
        unit.stop().unwrap();
        assert_eq!((unit.state(), unit.tend(Instant::now() + STEADY)), (State::Stopped, None));
    }

    #[test]
    fn a_unit_that_ends_at_once_fails_its_start_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec::new("unit", "/bin/sh", folder.path()).args(["-c", "exit 1"]);
        let unit = Mutex::new(Unit::new(spec, Duration::from_secs(5), || false));
        assert!(Unit::start(&unit).is_err());
        assert!(wait_until(Duration::from_secs(5), || lock(&unit).state() == State::Ended));
    }

    fn overlay(mode: &str) -> Overlay {
        Overlay { env: BTreeMap::from([("MODE".to_owned(), mode.to_owned())]), restart: false }
    }

    #[test]
    fn a_running_unit_takes_no_other_overlay() {
        let (_folder, unit) = unit("sleep 60");
        Unit::start_with(&unit, overlay("one")).unwrap();
        let pid = lock(&unit).pid();

        let other = Unit::start_with(&unit, overlay("two")).unwrap_err();
        let same = Unit::start_with(&unit, overlay("one"));
        let none = Unit::start(&unit);

        assert!(other.is::<AlreadyRuns>() && same.is_ok() && none.is_ok(), "{other}");
        assert_eq!(lock(&unit).pid(), pid);
    }

    #[test]
    fn a_unit_that_starts_can_be_looked_at_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec::new("unit", "/bin/sh", folder.path()).args(["-c", "sleep 60"]);
        let unit = Mutex::new(Unit::new(spec, Duration::from_mins(1), || false));
        thread::scope(|scope| {
            let start = scope.spawn(|| Unit::start(&unit));
            let runs = || unit.try_lock().is_ok_and(|mut unit| unit.state() == State::Running);
            assert!(wait_until(Duration::from_secs(5), runs));

            lock(&unit).stop().unwrap();

            let error = start.join().unwrap().unwrap_err().to_string();
            assert!(error.contains("stopped while it started"), "{error}");
        });
    }
}
