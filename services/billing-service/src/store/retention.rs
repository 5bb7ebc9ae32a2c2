//! How long the rows of each table are kept.

use messaging::retention::{INBOX, OUTBOX};
use runtime::retention::Kept::{Days, Forever, WithParent};
use runtime::retention::{Kept, Retention};

/// The law asks for the books, and everything that they refer to stays with them.
const BOOKS: Kept = Forever("the books are kept; what they say of an erased person gets less");
const REFERRED: Kept = Forever("the books refer to it");
const CATALOGUE: Kept = Forever("subscriptions keep what they were bought with");
const PRICING: Kept = Forever("invoices were made by it, and it is short");
const ONE_ROW: Kept = Forever("its number of rows is fixed");
const ONCE: Kept = Forever("what is given once is remembered for life (BIL-09)");

/// Every table of this service's database.
pub const RETENTION: &[Retention] = &[
    Retention { table: "invoices", class: "money", kept: BOOKS },
    Retention { table: "invoice_lines", class: "money", kept: BOOKS },
    Retention { table: "invoice_numbers", class: "money", kept: BOOKS },
    Retention { table: "payments", class: "money", kept: BOOKS },
    Retention { table: "refunds", class: "money", kept: BOOKS },
    Retention { table: "credits", class: "money", kept: BOOKS },
    Retention { table: "journal_entries", class: "money", kept: BOOKS },
    Retention { table: "journal_lines", class: "money", kept: BOOKS },
    Retention { table: "customers", class: "accounts", kept: REFERRED },
    Retention { table: "subscriptions", class: "accounts", kept: REFERRED },
    Retention { table: "plans", class: "catalogue", kept: CATALOGUE },
    Retention { table: "plan_entitlements", class: "catalogue", kept: CATALOGUE },
    Retention { table: "coupons", class: "catalogue", kept: PRICING },
    Retention { table: "tax_rates", class: "catalogue", kept: PRICING },
    Retention { table: "trial_grants", class: "accounts", kept: ONCE },
    Retention { table: "coupon_redemptions", class: "accounts", kept: ONCE },
    Retention { table: "billing_clock", class: "state", kept: ONE_ROW },
    Retention { table: "catalogue_state", class: "state", kept: ONE_ROW },
    Retention { table: "provider_state", class: "state", kept: ONE_ROW },
    Retention { table: "schedule", class: "state", kept: ONE_ROW },
    Retention { table: "instance_checks", class: "state", kept: Forever("a row goes with its answer") },
    // An order that came to nothing. One that was reactivated says that its instance had one before.
    Retention {
        table: "orders",
        class: "operations",
        kept: Days {
            days: 180,
            rows: "state = 'cancelled' AND created_at < $1 AND NOT provider_cancel_due
                AND confirmed_at IS NULL AND cancel_reason <> 'reactivated'
                AND NOT EXISTS (SELECT FROM subscriptions s WHERE s.order_id = orders.id)",
        },
    },
    Retention {
        table: "subscription_reminders",
        class: "mails",
        kept: Days {
            days: 180,
            rows: "sent_at < $1 AND EXISTS (SELECT FROM subscriptions s
                WHERE s.id = subscription_reminders.subscription_id AND s.ended_at < $1)",
        },
    },
    // A wish of a customer is of no use after its answer. What a provider was told of money answers whoever
    // asks for the same again, as the journal does where the books are here.
    Retention {
        table: "provider_calls",
        class: "operations",
        kept: Days {
            days: 180,
            rows: "state <> 'waiting' AND finished_at < $1
                AND kind IN ('change', 'undo_change', 'cancel', 'undo_cancel')",
        },
    },
    // They may hold what people sent.
    Retention {
        table: "webhook_inbox",
        class: "messages",
        kept: Days { days: 90, rows: "state <> 'new' AND received_at < $1" },
    },
    Retention {
        table: "tasks",
        class: "operations",
        kept: Days { days: 180, rows: "state <> 'queued' AND finished_at < $1" },
    },
    // The last one that ended is what the alerts stand on. One whose process died never ends.
    Retention {
        table: "audit_runs",
        class: "operations",
        kept: Days {
            days: 92,
            rows: "started_at < $1 AND id IS DISTINCT FROM
                (SELECT id FROM audit_runs WHERE state = 'done' ORDER BY finished_at DESC LIMIT 1)",
        },
    },
    Retention { table: "audit_findings", class: "operations", kept: WithParent("audit_runs") },
    Retention { table: "findings", class: "audit", kept: Days { days: 730, rows: "resolved_at < $1" } },
    Retention { table: "audit_log", class: "audit", kept: Days { days: 730, rows: "at < $1" } },
    OUTBOX,
    INBOX,
];
