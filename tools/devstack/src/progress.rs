//! What a person sees while a stack starts: one line for each stage that ended, with its time, and a line
//! each half minute for a stage that takes minutes. The times are kept for the table at the end.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How often a stage that takes minutes tells how far it is.
const INTERVAL: Duration = Duration::from_secs(30);

/// How far a stage is, counted by whoever works and read by whoever tells.
#[derive(Debug, Default)]
pub struct Count {
    done: AtomicUsize,
    total: AtomicUsize,
}

impl Count {
    /// So many of so many are done.
    pub fn set(&self, done: usize, total: usize) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// One more is done.
    pub fn add(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// `412 of 655`, or nothing as long as nothing is counted.
    fn text(&self) -> Option<String> {
        match (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed)) {
            (0, 0) => None,
            (done, 0) => Some(done.to_string()),
            (done, total) => Some(format!("{done} of {total}")),
        }
    }
}

/// Receives lines and measures stages; shared by threads.
pub struct Progress {
    out: Mutex<Box<dyn Write + Send>>,
    stages: Mutex<Vec<(String, Duration)>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

impl Progress {
    /// Lines go to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)), stages: Mutex::default() }
    }

    /// Writes one line.
    pub fn line(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads any more: the work goes on.
        let _: std::io::Result<()> = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// Runs one stage and tells how it ended and how long it took.
    pub fn stage<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let outcome = work();
        let took = begun.elapsed();
        match &outcome {
            Ok(_) => self.line(&format!("  {name:<28} {:>7}", seconds(took))),
            Err(_) => self.line(&format!("  {name:<28} {:>7}  failed", seconds(took))),
        }
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_owned(), took));
        outcome
    }

    /// Runs one stage that takes minutes: beside its end, it tells each half minute how many of its `units`
    /// are done.
    pub fn counted<T>(&self, name: &str, units: &str, work: impl FnOnce(&Count) -> Result<T>) -> Result<T> {
        let count = Count::default();
        let begun = Instant::now();
        let (ended, end) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(|| {
                // Moved here, so that the loop ends when the other half is dropped, in whatever way the work
                // ends.
                let end = end;
                while end.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                    let done = count.text().map_or_else(String::new, |text| format!("{text} {units}, "));
                    self.line(&format!("  {name}: {done}{}", seconds(begun.elapsed())));
                }
            });
            let outcome = self.stage(name, || work(&count));
            drop(ended);
            outcome
        })
    }

    /// The stages that ended, in the order of their ends.
    pub fn stages(&self) -> Vec<(String, Duration)> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `1.2 s`, and minutes above a hundred seconds.
pub fn seconds(time: Duration) -> String {
    if time.as_secs() >= 100 {
        format!("{} m {:02} s", time.as_secs() / 60, time.as_secs() % 60)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(421)), "7 m 01 s");
    }

    #[test]
    fn a_count_is_told_once_something_is_counted() {
        let count = Count::default();
        assert_eq!(count.text(), None);
        count.add();
        assert_eq!(count.text().as_deref(), Some("1"));
        count.set(412, 655);
        assert_eq!(count.text().as_deref(), Some("412 of 655"));
    }

    #[test]
    fn a_failed_stage_keeps_its_time_and_error() {
        let progress = Progress::new(std::io::sink());
        let outcome: Result<()> = progress.stage("x", || anyhow::bail!("no"));
        assert_eq!(outcome.unwrap_err().to_string(), "no");
        assert_eq!(progress.stages().len(), 1);
    }
}
