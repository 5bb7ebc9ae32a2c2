//! How long the rows of each table are kept.

use messaging::retention::{INBOX, OUTBOX};
use runtime::retention::{Kept, Retention};

/// Every table of database `auth`.
pub const RETENTION: &[Retention] = &[
    Retention {
        table: "users",
        class: "accounts",
        kept: Kept::Forever("invoices and audits name the account; the person in it is erased (USR-20)"),
    },
    // Ended sessions and sent mails stay a while, so that a reuse of their tokens is seen.
    Retention {
        table: "sessions",
        class: "sessions",
        kept: Kept::Days { days: 30, rows: "expires_at < $1 OR ended_at < $1" },
    },
    // A session that lives long gets a token at each refresh: the old ones go before it does.
    Retention {
        table: "refresh_tokens",
        class: "sessions",
        kept: Kept::Days { days: 30, rows: "expires_at < $1" },
    },
    Retention { table: "refresh_tokens", class: "sessions", kept: Kept::WithParent("sessions") },
    Retention {
        table: "mail_requests",
        class: "mails",
        kept: Kept::Days { days: 30, rows: "state <> 'pending' AND expires_at < $1" },
    },
    Retention { table: "mail_tokens", class: "mails", kept: Kept::WithParent("mail_requests") },
    Retention {
        table: "closures",
        class: "operations",
        kept: Kept::Days { days: 180, rows: "erased_at < $1" },
    },
    // The trigger `audit_keeps_rows` knows the same time.
    Retention { table: "audit", class: "audit", kept: Kept::Days { days: 730, rows: "at < $1" } },
    OUTBOX,
    INBOX,
];
