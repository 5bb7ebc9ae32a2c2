//! Time as the database has it. Deadlines are written by it, and each worker reads them by the same clock,
//! however wrong its own may be.

use time::OffsetDateTime;
use tokio::time::Instant;

/// The database's time at the claim, and what has passed since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    claimed_at: OffsetDateTime,
    since: Instant,
}

impl Clock {
    /// `claimed_at` is now.
    pub(super) fn new(claimed_at: OffsetDateTime) -> Self {
        Self { claimed_at, since: Instant::now() }
    }

    /// Now.
    pub(super) fn now(self) -> OffsetDateTime {
        self.claimed_at + self.since.elapsed()
    }
}
