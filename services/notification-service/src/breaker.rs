//! The circuit breaker in front of SMTP (REL-15): while the server is away, mails wait in the queue instead
//! of using up their attempts.
//!
//! After `THRESHOLD` connection failures in a row it opens; after a pause one mail is tried; its success
//! closes the circuit, its failure doubles the pause. Answers of the server, also refusals, count as a
//! working connection.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Failures in a row that open the circuit.
const THRESHOLD: u32 = 3;
/// Longest time between two tries.
const LONGEST: Duration = Duration::from_mins(1);

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// As much as there is.
    All,
    /// One mail, to see whether the server is back.
    One,
    /// Nothing until then.
    Nothing(Instant),
}

#[derive(Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// A probe is on its way.
    HalfOpen {
        since: Instant,
        pause: Duration,
    },
}

/// Shared by all senders of a process.
#[derive(Debug)]
pub struct Breaker {
    state: Mutex<State>,
    first_pause: Duration,
    /// A probe that never reports back is forgotten after this time.
    probe_limit: Duration,
}

impl Breaker {
    /// Closed. `first_pause` is the pause after it opens; `probe_limit` the longest attempt.
    pub fn new(first_pause: Duration, probe_limit: Duration) -> Self {
        Self {
            state: Mutex::new(State::Closed { failures: 0 }),
            first_pause: first_pause.clamp(Duration::from_millis(100), LONGEST),
            probe_limit,
        }
    }

    /// What may be sent now. After `Permit::One` the outcome must be reported.
    pub fn permit(&self, now: Instant) -> Permit {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => Permit::All,
            State::Open { until, .. } if now < until => Permit::Nothing(until),
            State::Open { pause, .. } => {
                *state = State::HalfOpen { since: now, pause };
                Permit::One
            }
            State::HalfOpen { since, pause } if now >= since + self.probe_limit => {
                *state = State::HalfOpen { since: now, pause };
                Permit::One
            }
            State::HalfOpen { since, .. } => Permit::Nothing(since + self.probe_limit),
        }
    }

    /// The permitted probe was not used: nothing was due.
    pub fn unused(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::HalfOpen { pause, .. } = *state {
            *state = State::Open { until: now, pause };
        }
    }

    /// The server answered.
    pub fn succeeded(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Closed { failures: 0 };
    }

    /// The server could not be used.
    pub fn failed(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match *state {
            State::Closed { failures } if failures + 1 < THRESHOLD => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { until: now + self.first_pause, pause: self.first_pause },
            State::HalfOpen { pause, .. } => {
                let pause = (pause * 2).min(LONGEST);
                State::Open { until: now + pause, pause }
            }
            State::Open { until, pause } => State::Open { until, pause },
        };
    }

    /// For the metric.
    pub fn is_open(&self) -> bool {
        !matches!(*self.state.lock().unwrap_or_else(PoisonError::into_inner), State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// REL-15
    #[test]
    fn it_opens_after_three_failures_probes_with_one_mail_and_closes_on_success() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let breaker = Breaker::new(second, second * 10);
        breaker.failed(start);
        breaker.failed(start);
        assert_eq!(breaker.permit(start), Permit::All, "two failures are no outage");
        breaker.failed(start);
        assert_eq!(breaker.permit(start), Permit::Nothing(start + second));

        assert_eq!(breaker.permit(start + second), Permit::One);
        assert!(matches!(breaker.permit(start + second), Permit::Nothing(_)), "one probe at a time");
        breaker.failed(start + second);
        assert_eq!(breaker.permit(start + second), Permit::Nothing(start + second * 3), "the pause doubles");

        assert_eq!(breaker.permit(start + second * 3), Permit::One);
        breaker.succeeded();
        assert_eq!(breaker.permit(start + second * 3), Permit::All);
        assert!(!breaker.is_open());
    }

    /// REL-15
    #[test]
    fn a_probe_that_never_reports_does_not_close_the_way_for_ever() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let breaker = Breaker::new(second, second * 10);
        for _ in 0..3 {
            breaker.failed(start);
        }
        assert_eq!(breaker.permit(start + second), Permit::One);
        assert_eq!(breaker.permit(start + second * 11), Permit::One);
    }
}
