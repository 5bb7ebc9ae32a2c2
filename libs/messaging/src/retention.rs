//! How long the rows of `outbox` and `inbox` are kept. A service takes both into its list of tables.

use runtime::retention::{Kept, Retention};

/// Sent events. A message that the broker lost can be looked up for a week.
pub const OUTBOX: Retention =
    Retention { table: "outbox", class: "messages", kept: Kept::Days { days: 7, rows: "sent_at < $1" } };

/// Messages whose effect is done. A redelivery cannot come later than the outbox and the dead letters keep
/// the message.
pub const INBOX: Retention =
    Retention { table: "inbox", class: "messages", kept: Kept::Days { days: 28, rows: "processed_at < $1" } };
