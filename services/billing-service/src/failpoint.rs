//! Places where a test lets the process die: an effect is there, and nobody has written so (REL-06).

use std::sync::Arc;

/// Places in the life of a payment, in its order. `tests/it/crashes.rs` dies once at each.
pub const ALL: [&str; 8] = [
    "pay.before_commit",
    "pay.row_written",
    "pay.gateway_answered",
    "pay.answer_noted",
    "hook.stored",
    "gateway.asked",
    "report.before_commit",
    "report.booked",
];

/// Places in the life of a subscription, in its order. `tests/it/deaths.rs` dies once at each.
pub const LIFE: [&str; 30] = [
    "order.written",
    "order.account_made",
    "order.told_provider",
    "order.before_commit",
    "order.ended",
    "payment.before_commit",
    "payment.ended",
    "remind.before_commit",
    "remind.ended",
    "renew.before_commit",
    "renew.ended",
    "overdue.before_commit",
    "overdue.ended",
    "warning.before_commit",
    "warning.ended",
    "suspended.before_commit",
    "suspended.ended",
    "terminated.before_commit",
    "terminated.ended",
    "expire.before_commit",
    "expire.ended",
    "upgrade.before_commit",
    "upgrade.ended",
    "downgrade.before_commit",
    "downgrade.ended",
    "cancel.before_commit",
    "cancel.ended",
    "end.before_commit",
    "end.ended",
    "reactivate.room_made",
];

/// Is there such a place?
pub fn is_known(place: &str) -> bool {
    ALL.contains(&place) || LIFE.contains(&place)
}

/// At most one place of death. Without one, all calls do nothing.
#[derive(Clone, Default)]
pub struct FailPoint(Option<(Arc<str>, fn())>);

impl std::fmt::Debug for FailPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FailPoint({:?})", self.0.as_ref().map(|(place, _)| place))
    }
}

impl FailPoint {
    /// The process aborts at this place.
    pub fn abort_at(place: &str) -> Self {
        Self::new(place, || std::process::abort())
    }

    /// `death` is called at this place; a test that lives in the same process panics there.
    pub fn new(place: &str, death: fn()) -> Self {
        Self(Some((Arc::from(place), death)))
    }

    /// We are here.
    pub fn at(&self, place: &str) {
        debug_assert!(is_known(place), "{place} is not in the list");
        if let Some((_, death)) = self.0.as_ref().filter(|(known, _)| **known == *place) {
            tracing::warn!(fail_point = place, "fail point reached");
            death();
        }
    }
}
