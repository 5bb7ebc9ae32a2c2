//! How long rows of each table are kept. What is open, in use or referred to stays, however old it is.

use runtime::retention::Kept::{Days, Forever, WithParent};
use runtime::retention::Retention;

/// Every table of this service's database.
pub const RETENTION: &[Retention] = &[
    // A server is named by what it held, moved or did; its row goes when nothing tells of it any more.
    Retention {
        table: "db_servers",
        class: "servers that are gone",
        kept: Days {
            days: 730,
            rows: "status = 'deprovisioned' AND volume_removed_at < $1
                AND NOT EXISTS (SELECT FROM allocations a WHERE a.db_server_id = db_servers.id)
                AND NOT EXISTS (SELECT FROM moves m
                    WHERE db_servers.id IN (m.source_server_id, m.target_server_id, m.holds_server_id))
                AND NOT EXISTS (SELECT FROM rotations r WHERE r.db_server_id = db_servers.id)
                AND NOT EXISTS (SELECT FROM tasks t WHERE t.db_server_id = db_servers.id)",
        },
    },
    Retention { table: "server_secrets", class: "secrets", kept: WithParent("db_servers") },
    Retention { table: "server_certificates", class: "secrets", kept: WithParent("db_servers") },
    // The forecast looks back for less.
    Retention {
        table: "allocations",
        class: "purged databases",
        kept: Days {
            days: 90,
            rows: "state = 'purged' AND purged_at < $1
                AND NOT EXISTS (SELECT FROM moves m
                    WHERE m.allocation_id = allocations.id AND m.state NOT IN ('aborted', 'dropped'))",
        },
    },
    Retention { table: "allocation_secrets", class: "secrets", kept: WithParent("allocations") },
    // Whoever waits asks every half minute; the sweep forgets the others within the hour.
    Retention { table: "waiting", class: "requests", kept: Days { days: 1, rows: "last_asked_at < $1" } },
    // They tell how long the next move will take.
    Retention {
        table: "moves",
        class: "operations",
        kept: Days { days: 365, rows: "state IN ('aborted', 'dropped') AND updated_at < $1" },
    },
    Retention {
        table: "rotations",
        class: "operations",
        kept: Days { days: 180, rows: "state IN ('retired', 'aborted') AND updated_at < $1" },
    },
    Retention {
        table: "authorities",
        class: "certificates",
        kept: Days {
            days: 30,
            rows: "not_after < $1 AND NOT EXISTS (
                SELECT FROM server_certificates c WHERE c.authority_id = authorities.id)",
        },
    },
    Retention { table: "cluster_contact", class: "state", kept: Forever("it is one row") },
    Retention {
        table: "tasks",
        class: "tasks of the schedule",
        kept: Days {
            days: 7,
            rows: "requested_by = 'schedule' AND finished_at IS NOT NULL AND created_at < $1",
        },
    },
    // A task that makes a server gets its end when somebody looks at it; nobody may ever do.
    Retention {
        table: "tasks",
        class: "tasks of persons",
        kept: Days {
            days: 90,
            rows: "requested_by <> 'schedule' AND created_at < $1
                AND (finished_at IS NOT NULL OR kind IN ('provision_pool', 'provision_dedicated'))",
        },
    },
    Retention { table: "audit_log", class: "audit", kept: Days { days: 730, rows: "at < $1" } },
    messaging::retention::OUTBOX,
    messaging::retention::INBOX,
];
