//! Places where a test lets the process die: an effect is there, and nobody has written so (REL-06).

use std::sync::{Arc, Mutex, PoisonError};

/// All of them, in the order of a tenant's life. `tests/it/crashes.rs` dies at each.
pub const ALL: [&str; 27] = [
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
pub const MOVES: [&str; 12] = [
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

/// Places of death. Without one, all calls do nothing.
#[derive(Clone, Default)]
pub struct FailPoint(Option<Arc<Deaths>>);

struct Deaths {
    left: Mutex<Vec<String>>,
    death: fn(),
}

impl std::fmt::Debug for FailPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FailPoint({:?})", self.left())
    }
}

impl FailPoint {
    /// The process aborts at this place.
    pub fn abort_at(place: &str) -> Self {
        Self::each(&[place], || std::process::abort())
    }

    /// `death` is called once at each of these places; a test that lives in the same process panics there.
    pub fn each(places: &[&str], death: fn()) -> Self {
        let left = Mutex::new(places.iter().map(|&place| place.to_owned()).collect());
        Self(Some(Arc::new(Deaths { left, death })))
    }

    /// The places that nobody came to yet.
    pub fn left(&self) -> Vec<String> {
        let left = self.0.as_ref().map(|deaths| deaths.left.lock().unwrap_or_else(PoisonError::into_inner));
        left.map(|left| left.clone()).unwrap_or_default()
    }

    /// We are here.
    pub fn at(&self, place: &str) {
        debug_assert!(ALL.contains(&place) || MOVES.contains(&place), "{place} is not in the list");
        let Some(deaths) = &self.0 else { return };
        let mut left = deaths.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = left.iter().position(|known| known == place) {
            left.remove(index);
            drop(left);
            tracing::warn!(fail_point = place, "fail point reached");
            (deaths.death)();
        }
    }
}
