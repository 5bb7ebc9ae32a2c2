//! Log lines in Odoo's form on standard output: time, process, level, database, logger, message.

use std::io::Write as _;

use time::OffsetDateTime;
use time::macros::format_description;

/// Weight of a line.
#[derive(Clone, Copy, Debug)]
pub enum Level {
    /// Normal course.
    Info,
    /// Something failed and is tried again.
    Warning,
    /// The process ends.
    Critical,
}

/// Writes one line.
pub fn line(level: Level, database: &str, logger: &str, message: &str) {
    let text = format(now(), std::process::id(), level, database, logger, message);
    // A closed standard output is no reason to stop serving.
    let _: std::io::Result<()> = writeln!(std::io::stdout().lock(), "{text}");
}

#[expect(clippy::disallowed_methods, reason = "a log line carries the time of the machine, as Odoo's does")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn format(
    now: OffsetDateTime,
    pid: u32,
    level: Level,
    database: &str,
    logger: &str,
    message: &str,
) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second],[subsecond digits:3]");
    let stamp = now.format(&form).unwrap_or_default();
    let level = match level {
        Level::Info => "INFO",
        Level::Warning => "WARNING",
        Level::Critical => "CRITICAL",
    };
    let database = if database.is_empty() { "?" } else { database };
    format!("{stamp} {pid} {level} {database} {logger}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_line_looks_like_odoo_s() {
        let text = format(datetime!(2026-01-02 03:04:05.678 UTC), 1, Level::Info, "shop", "odoo", "hello");
        assert_eq!(text, "2026-01-02 03:04:05,678 1 INFO shop odoo: hello");
    }
}
