//! The one place that reads the wall clock. The domain takes `now` as an argument.

use time::OffsetDateTime;

/// The time now, in UTC, cut to microseconds: PostgreSQL stores no more, and a value must read back equal.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.nanosecond() / 1000 * 1000).unwrap_or(now)
}
