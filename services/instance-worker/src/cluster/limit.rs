//! Client-side limit of API calls (K8S-33): a bucket that refills steadily. Waiting is fair, first come first
//! served.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// At most `per_second` calls, with a burst of two seconds' worth.
#[derive(Debug)]
pub struct Limiter {
    interval: Duration,
    burst: Duration,
    /// When the bucket is empty up to.
    next: Mutex<Instant>,
}

impl Limiter {
    /// A full bucket.
    pub fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let burst = Duration::from_secs(2);
        let now = Instant::now();
        Self { interval, burst, next: Mutex::new(now.checked_sub(burst).unwrap_or(now)) }
    }

    /// Waits for its turn.
    pub async fn wait(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let now = Instant::now();
            let earliest = now.checked_sub(self.burst).unwrap_or(now);
            let turn = (*next).max(earliest) + self.interval;
            *next = turn;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-33
    #[tokio::test(start_paused = true)]
    async fn calls_beyond_the_burst_wait_for_their_turn() {
        let limiter = Limiter::new(10);
        tokio::time::advance(Duration::from_secs(5)).await;
        let start = Instant::now();
        for _ in 0..20 {
            limiter.wait().await;
        }
        assert!(start.elapsed() < Duration::from_millis(100));
        for _ in 0..10 {
            limiter.wait().await;
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(900) && took <= Duration::from_millis(1100), "{took:?}");
    }
}
