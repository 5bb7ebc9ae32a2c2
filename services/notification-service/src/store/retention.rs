//! How long the rows of this database are kept.

use runtime::retention::{Kept, Retention};

/// Every table.
pub const RETENTION: &[Retention] = &[
    Retention {
        table: "emails",
        class: "mails",
        kept: Kept::Days { days: 180, rows: "created_at < $1 AND status IN ('sent', 'failed', 'cancelled')" },
    },
    Retention { table: "email_events", class: "mails", kept: Kept::WithParent("emails") },
    // The rate limit counts the last hour.
    Retention { table: "send_log", class: "counters", kept: Kept::Days { days: 1, rows: "at < $1" } },
    messaging::retention::INBOX,
];
