//! How long the rows of database `instance` are kept: every table of it, those of the worker too.

use messaging::retention::{INBOX, OUTBOX};
use runtime::retention::{Kept, Retention};

/// What an operation or a line of the timeline tells is of no use later.
const HISTORY: u16 = 180;
/// Who did what, and what became of an instance that is no more (INS-26, SEC-17).
const ACCOUNTS: u16 = 730;

/// All tables. The timeline of an instance that never rests is bounded besides: of each kind of line it has
/// the newest ones only (`store::events`).
pub const RETENTION: &[Retention] = &[
    Retention {
        table: "instances",
        class: "purged instances",
        // Whatever is left of its history goes with it.
        kept: Kept::Days { days: ACCOUNTS, rows: "status = 'purged' AND updated_at < $1" },
    },
    Retention { table: "instances", class: "instances", kept: Kept::Forever("their data is still there") },
    Retention {
        table: "operations",
        class: "history",
        // The newest one says what failed last, and what a retry repeats.
        kept: Kept::Days {
            days: HISTORY,
            rows: "finished_at < $1 AND EXISTS (SELECT FROM operations newer
                       WHERE newer.instance_id = operations.instance_id
                         AND newer.created_at > operations.created_at)",
        },
    },
    Retention {
        table: "instance_events",
        class: "history",
        kept: Kept::Days { days: HISTORY, rows: "at < $1" },
    },
    Retention { table: "audit_log", class: "audit", kept: Kept::Days { days: ACCOUNTS, rows: "at < $1" } },
    Retention { table: "purge_consents", class: "consents", kept: Kept::WithParent("instances") },
    Retention { table: "database_wishes", class: "work", kept: Kept::WithParent("instances") },
    Retention {
        table: "idempotency_keys",
        class: "requests",
        kept: Kept::Days { days: 1, rows: "expires_at < $1" },
    },
    Retention {
        table: "create_claims",
        class: "requests",
        kept: Kept::Days { days: 1, rows: "expires_at < $1" },
    },
    Retention {
        table: "closed_customers",
        class: "requests",
        kept: Kept::Days { days: 1, rows: "closed_at < $1" },
    },
    Retention {
        table: "drains",
        class: "history",
        kept: Kept::Days { days: HISTORY, rows: "ended_at < $1" },
    },
    Retention {
        table: "billing_news",
        class: "work",
        kept: Kept::Forever("a row goes when it was followed; an instance has one for a subscription"),
    },
    Retention { table: "db_servers", class: "servers", kept: Kept::Forever("one row for each server") },
    Retention { table: "monitoring", class: "settings", kept: Kept::Forever("one row") },
    OUTBOX,
    INBOX,
];
