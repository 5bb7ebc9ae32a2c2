//! How long a step rests before another try (K8S-20). The deadline of its operation ends the tries, not their
//! number: an outage costs time and no operation.

use std::time::Duration;

use rand::RngExt as _;

/// Pauses grow by four, from the first to the longest.
#[derive(Debug, Clone, Copy)]
pub struct Pauses {
    /// After the first try.
    pub first: Duration,
    /// Never longer.
    pub longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_secs(2), longest: Duration::from_mins(1) }
    }
}

impl Pauses {
    /// Exponential, with a fifth of jitter either way.
    pub(super) fn after(self, tries: u32) -> Duration {
        let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
        let plain = (self.first.as_secs_f64() * 4_f64.powi(exponent)).min(self.longest.as_secs_f64());
        Duration::from_secs_f64(plain * rand::rng().random_range(0.8..1.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-20
    #[test]
    fn pauses_grow_and_stay_bounded() {
        let pauses = Pauses::default();
        for (tries, wanted) in [(0, 2.0), (1, 2.0), (2, 8.0), (3, 32.0), (4, 60.0), (1000, 60.0)] {
            let got = pauses.after(tries).as_secs_f64();
            assert!(got >= wanted * 0.8 && got <= wanted * 1.2, "{tries}: {got}");
        }
    }
}
