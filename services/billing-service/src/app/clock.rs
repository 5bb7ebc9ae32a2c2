//! The time of billing: real time plus the offset in SQL, which only the test clock moves.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use sqlx::{PgExecutor, PgPool};
use time::{Duration, OffsetDateTime};

use crate::store;

/// How old a known offset may be.
const KEPT: std::time::Duration = std::time::Duration::from_secs(1);

/// Knows the offset for a moment. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct BillingClock(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    offset: Duration,
    read_at: Option<Instant>,
}

impl BillingClock {
    /// Billing time now. When the offset cannot be read the last one holds: it is 0 wherever money is real.
    pub async fn now(&self, pool: &PgPool) -> OffsetDateTime {
        self.now_by(pool).await
    }

    /// The same for who holds a connection already: waiting for a second one while all others do the same would end in the pool's deadline.
    pub async fn now_by(&self, db: impl PgExecutor<'_>) -> OffsetDateTime {
        if let Some(offset) = self.fresh() {
            return runtime::clock::now() + offset;
        }
        match store::clock::offset(db).await {
            Ok(offset) => self.learn(offset),
            Err(error) => tracing::warn!(error = %error, "the billing clock cannot be read"),
        }
        runtime::clock::now() + self.last()
    }

    /// The offset that was just read or written.
    pub fn learn(&self, offset: Duration) {
        if let Ok(mut known) = self.0.lock() {
            // It only goes forward: a read that was slow must not take it back.
            known.offset = known.offset.max(offset);
            known.read_at = Some(Instant::now());
        }
    }

    fn fresh(&self) -> Option<Duration> {
        let known = self.0.lock().ok()?;
        known.read_at.filter(|at| at.elapsed() < KEPT).map(|_| known.offset)
    }

    fn last(&self) -> Duration {
        self.0.lock().map(|known| known.offset).unwrap_or_default()
    }
}
