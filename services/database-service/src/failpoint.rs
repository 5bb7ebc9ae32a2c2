//! The places where a test lets the process die: an effect is there, and nobody has written so (REL-06).

use runtime::failpoint::FailPoint;

/// All of them, in the order of a tenant's life. `tests/it/crashes.rs` dies at each.
pub const ALL: &[&str] = &[
    "order.before_commit",
    "certificate.before_commit",
    "check.before_note",
    "check.before_commit",
    "dedicated.before_task",
    "allocate.before_commit",
    "allocate.slot_taken",
    "allocate.role_made",
    "allocate.database_made",
    "allocate.before_end",
    "allocate.ended",
    "pool_rotate.noted",
    "pool_rotate.changed",
    "pool_rotate.before_commit",
    "rotate.noted",
    "rotate.login_made",
    "rotate.before_ready",
    "rotate.before_switch",
    "rotate.switched",
    "rotate.handed_over",
    "rotate.before_end",
    "release.before_commit",
    "purge.marked",
    "purge.database_dropped",
    "purge.before_end",
    "removal.before_commit",
    "report.before_commit",
];

/// Those of a moving database, in order. `tests/it/move_crashes.rs` dies at each.
pub const MOVES: &[&str] = &[
    "move.before_reserve",
    "move.reserved",
    "move.target_made",
    "move.copy_begun",
    "move.compared_early",
    "move.tables_copied",
    "move.compared",
    "move.before_switch",
    "move.switched",
    "move.source_closed",
    "move.aborting",
    "move.leftover_dropped",
];

/// Nobody dies.
pub const NONE: FailPoint = FailPoint::none(&[ALL, MOVES]);
