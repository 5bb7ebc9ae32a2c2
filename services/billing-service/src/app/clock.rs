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
        self.look(db).await;
        let known = self.known();
        runtime::clock::now() + known.0 + known.1
    }

    /// Real time now, which is the database's: what waits, expires or is kept goes by it on every replica.
    pub async fn real_by(&self, db: impl PgExecutor<'_>) -> OffsetDateTime {
        self.look(db).await;
        runtime::clock::now() + self.known().1
    }

    async fn look(&self, db: impl PgExecutor<'_>) {
        if self.is_fresh() {
            return;
        }
        let before = runtime::clock::now();
        match store::clock::offset(db).await {
            Ok((offset, theirs)) => {
                self.learn(offset);
                self.set_apart(apart(before, theirs, runtime::clock::now()));
            }
            Err(error) => tracing::warn!(error = %error, "the billing clock cannot be read"),
        }
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

    fn is_fresh(&self) -> bool {
        self.0.lock().is_ok_and(|known| known.read_at.is_some_and(|at| at.elapsed() < KEPT))
    }

    /// How far billing time is ahead of real time, and the database's clock of ours.
    fn known(&self) -> (Duration, Duration) {
        self.0.lock().map(|known| (known.offset, known.apart)).unwrap_or_default()
    }
}

/// In production nobody can move the clock: a database in which it was moved is that of a test, and whoever
/// billed by it would charge for time that nobody had (SEC-18).
pub async fn check_clock(pool: &PgPool, is_production: bool) -> anyhow::Result<()> {
    let (offset, _) = store::clock::offset(pool).await?;
    anyhow::ensure!(
        !is_production || offset.is_zero(),
        "the billing clock of this database was moved by {} s, which only tests do: \
         ENVIRONMENT=production needs a database of its own",
        offset.whole_seconds(),
    );
    Ok(())
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
