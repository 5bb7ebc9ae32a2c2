//! The time of billing: the database's time plus the offset in SQL, which only the test clock moves. A
//! replica whose own clock is wrong bills, warns and ends nobody at another time than the others.

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
    /// The database's clock minus ours.
    apart: Duration,
    read_at: Option<Instant>,
}

impl BillingClock {
    /// Billing time now. When the offset cannot be read the last one holds: it is 0 wherever money is real.
    pub async fn now(&self, pool: &PgPool) -> OffsetDateTime {
        self.now_by(pool).await
    }

    /// The same for who holds a connection already: waiting for a second one while all others do the same
    /// would end in the pool's deadline.
    pub async fn now_by(&self, db: impl PgExecutor<'_>) -> OffsetDateTime {
        if let Some(ahead) = self.fresh() {
            return runtime::clock::now() + ahead;
        }
        let before = runtime::clock::now();
        match store::clock::offset(db).await {
            Ok((offset, theirs)) => {
                self.learn(offset);
                self.set_apart(apart(before, theirs, runtime::clock::now()));
            }
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

    fn set_apart(&self, apart: Duration) {
        if let Ok(mut known) = self.0.lock() {
            known.apart = apart;
        }
    }

    fn fresh(&self) -> Option<Duration> {
        let known = self.0.lock().ok()?;
        known.read_at.filter(|at| at.elapsed() < KEPT).map(|_| known.offset + known.apart)
    }

    fn last(&self) -> Duration {
        self.0.lock().map(|known| known.offset + known.apart).unwrap_or_default()
    }
}

/// How far the database's clock is from ours, by our looks before and after it told its time. Zero where it
/// lies between them: then both agree as far as anybody can tell.
fn apart(before: OffsetDateTime, theirs: OffsetDateTime, after: OffsetDateTime) -> Duration {
    if theirs < before {
        theirs - before
    } else if theirs > after {
        theirs - after
    } else {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::apart;
    use time::Duration;
    use time::macros::datetime;

    /// BIL-15: a replica that is two days ahead takes the database's time.
    #[test]
    fn the_time_is_the_databases() {
        let theirs = datetime!(2028-03-01 12:00 UTC);
        let (day, second) = (Duration::days(2), Duration::SECOND);
        assert_eq!(apart(theirs - second, theirs, theirs + second), Duration::ZERO);
        assert_eq!(apart(theirs + day, theirs, theirs + day + second), -day);
        assert_eq!(apart(theirs - day - second, theirs, theirs - day), day);
    }
}
