//! Looks at the database on a connection of its own: a pool whose connections are all at work is busy, not
//! away, and must not make the process unready at the peak of the load.

use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;

/// Longest wait for the answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// The clocks of process and database may differ by this much. Due dates, deadlines and money are decided by
/// both of them.
const CLOCKS_APART: time::Duration = time::Duration::seconds(5);

/// Asks the database how it is.
#[derive(Debug, Clone)]
pub struct Probe {
    connection: PgPool,
}

impl Probe {
    /// For the database of `pool`; connects when it is first asked.
    pub fn new(pool: &PgPool) -> Self {
        let connection = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(DEADLINE)
            .connect_lazy_with((*pool.connect_options()).clone());
        Self { connection }
    }

    /// Does it answer? The time it took.
    pub async fn answers(&self) -> anyhow::Result<Duration> {
        super::ping(&self.connection).await
    }

    /// Do its clock and ours agree? A process with a wrong clock bills, ends and gives up at the wrong time,
    /// so it must not work.
    pub async fn clock_is_right(&self) -> anyhow::Result<()> {
        let offset = clock_offset(&self.connection).await?;
        anyhow::ensure!(
            offset.abs() <= CLOCKS_APART,
            "the clock of this process is {:.1} s {} the database's: set the machine's time (NTP)",
            offset.abs().as_seconds_f64(),
            if offset.is_positive() { "behind" } else { "ahead of" },
        );
        Ok(())
    }
}

/// The database's clock minus ours.
pub async fn clock_offset(pool: &PgPool) -> anyhow::Result<time::Duration> {
    let before = crate::clock::now();
    let theirs: OffsetDateTime =
        tokio::time::timeout(DEADLINE, sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(pool))
            .await
            .context("the database did not answer within 2 s")??;
    Ok(offset(before, theirs, crate::clock::now()))
}

/// Zero as long as their time lies between our two looks, which a slow answer or a machine that was paused
/// makes far apart.
fn offset(before: OffsetDateTime, theirs: OffsetDateTime, after: OffsetDateTime) -> time::Duration {
    if theirs < before {
        theirs - before
    } else if theirs > after {
        theirs - after
    } else {
        time::Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        let (before, after) = (datetime!(2026-01-01 0:00:00 UTC), datetime!(2026-01-01 0:00:20 UTC));
        assert_eq!(offset(before, datetime!(2026-01-01 0:00:10 UTC), after), time::Duration::ZERO);
        assert_eq!(offset(before, datetime!(2026-01-01 0:00:30 UTC), after), time::Duration::seconds(10));
        assert_eq!(offset(before, datetime!(2025-12-31 23:59:50 UTC), after), time::Duration::seconds(-10));
    }
}
