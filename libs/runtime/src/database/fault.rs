//! What an error of the database means for whoever called: one reading of it for all services, so that the
//! same outage is the same answer everywhere.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};

/// What an error of the database means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be reached, stops, starts, or has no connection, lock, memory or disk to give: the same call
    /// works when it is back (503).
    Away,
    /// A deadlock or a serialization failure: the whole transaction may be repeated at once (409 when that
    /// does not help).
    Conflict,
    /// A text that PostgreSQL cannot hold, such as U+0000: it will never work, and the caller sent it (422).
    RefusedText,
    /// Anything else is a fault of ours.
    Other,
}

/// Reads an error of the database.
pub fn fault(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Fault::Away,
        sqlx::Error::Database(error) => by_sqlstate(&error.code().unwrap_or_default()),
        _ => Fault::Other,
    }
}

/// Codes of PostgreSQL, appendix A of its manual.
fn by_sqlstate(code: &str) -> Fault {
    match code {
        "40001" | "40P01" => Fault::Conflict,
        "22021" | "22P05" => Fault::RefusedText,
        // Roles that may not log in or whose password is being changed, a read-only standby, a lock that is
        // not given in time.
        "28000" | "28P01" | "25006" | "55P03" => Fault::Away,
        // Connection lost (08), no resources (53), ended or not up yet (57P), a statement cut off by its
        // time-out, the system's own trouble (58).
        _ if code.starts_with("08")
            || code.starts_with("53")
            || code.starts_with("57P")
            || code == "57014"
            || code == "58030" =>
        {
            Fault::Away
        }
        _ => Fault::Other,
    }
}

/// The same for an error that carries one of the database somewhere in its chain of causes.
pub fn fault_within(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<sqlx::Error>() {
            return Some(fault(error));
        }
        cause = error.source();
    }
    None
}

/// Repeats a whole transaction that lost against another one: 5 tries within about a second, with jitter.
/// `is_conflict` says which errors these are; for plain database errors it is [`is_conflict`].
pub async fn repeat_conflicts<T, E, F, Fut>(attempt: F, is_conflict: impl Fn(&E) -> bool) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    attempt
        .retry(
            ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(20))
                .with_max_delay(Duration::from_millis(500))
                .with_max_times(4)
                .with_factor(3.0)
                .with_jitter(),
        )
        .when(|error| is_conflict(error))
        .await
}

/// Deadlocks and serialization failures.
pub fn is_conflict(error: &sqlx::Error) -> bool {
    fault(error) == Fault::Conflict
}

/// The database cannot be used now.
pub fn is_away(error: &sqlx::Error) -> bool {
    fault(error) == Fault::Away
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_by_what_a_caller_can_do() {
        for code in ["57P01", "57P03", "53300", "53100", "55P03", "08006", "28000", "28P01", "57014", "25006"]
        {
            assert_eq!(by_sqlstate(code), Fault::Away, "{code}");
        }
        for code in ["40001", "40P01"] {
            assert_eq!(by_sqlstate(code), Fault::Conflict, "{code}");
        }
        for code in ["22021", "22P05"] {
            assert_eq!(by_sqlstate(code), Fault::RefusedText, "{code}");
        }
        for code in ["23505", "42703", "22003", ""] {
            assert_eq!(by_sqlstate(code), Fault::Other, "{code}");
        }
    }

    #[test]
    fn a_cause_is_found_below_other_errors() {
        let wrapped = anyhow::Error::from(sqlx::Error::PoolTimedOut).context("cannot write the mail");
        assert_eq!(fault_within(wrapped.as_ref()), Some(Fault::Away));
        assert_eq!(fault_within(anyhow::anyhow!("something else").as_ref()), None);
    }

    #[tokio::test]
    async fn a_conflict_is_repeated_and_another_error_is_not() {
        let tries = std::cell::Cell::new(0);
        let third = repeat_conflicts(
            || {
                tries.set(tries.get() + 1);
                std::future::ready(if tries.get() < 3 { Err("conflict") } else { Ok(tries.get()) })
            },
            |error| *error == "conflict",
        );
        assert_eq!(third.await, Ok(3));

        tries.set(0);
        let other: Result<(), _> = repeat_conflicts(
            || {
                tries.set(tries.get() + 1);
                std::future::ready(Err("other"))
            },
            |error| *error == "conflict",
        )
        .await;
        assert_eq!((other, tries.get()), (Err("other"), 1));
    }
}
