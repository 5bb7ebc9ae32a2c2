//! How long a container waits before it is started again: not at all the first time, then doubling.

use std::time::Duration;

/// The waits of one container.
#[derive(Debug, Clone)]
pub struct RestartBackoff {
    base: Duration,
    max: Duration,
    next: Option<Duration>,
}

impl RestartBackoff {
    /// Waits from `base` up to `max`.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self { base, max, next: None }
    }

    /// The wait before the next start, after a run that took `ran`. A long run forgets the failures before
    /// it.
    pub fn after_run(&mut self, ran: Duration) -> Option<Duration> {
        if ran > self.max.saturating_mul(2) {
            self.next = None;
        }
        let wait = self.next;
        let following = wait.map_or(self.base, |wait| wait.saturating_mul(2));
        self.next = Some(following.min(self.max));
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_restart_is_immediate_and_the_others_double() {
        let mut backoff = RestartBackoff::new(10 * SECOND, 300 * SECOND);

        let waits: Vec<_> = (0..8).map(|_| backoff.after_run(SECOND)).collect();

        let seconds: Vec<_> = waits.iter().map(|wait| wait.map(|wait| wait.as_secs())).collect();
        assert_eq!(seconds, [None, Some(10), Some(20), Some(40), Some(80), Some(160), Some(300), Some(300)]);
    }

    #[test]
    fn a_long_run_starts_the_count_anew() {
        let mut backoff = RestartBackoff::new(10 * SECOND, 300 * SECOND);
        backoff.after_run(SECOND);
        backoff.after_run(SECOND);

        assert_eq!(backoff.after_run(601 * SECOND), None);
    }
}
