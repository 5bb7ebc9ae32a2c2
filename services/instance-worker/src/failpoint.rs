//! Places where a test lets the process die: an effect is there, and nobody has written so (REL-06). Steps of
//! operations are such places by themselves: `<kind>.<step>`.

use std::sync::Arc;

/// Those in the making and removing of a pool, in order. `tests/it/pool_crashes.rs` dies once at each.
pub const POOLS: [&str; 8] = [
    "pool.secret",
    "pool.config_map",
    "pool.service",
    "pool.stateful_set",
    "pool.reported",
    "pool.set_deleted",
    "pool.removed",
    "pool.volume_deleted",
];

/// At most one place of death. Without one, all calls do nothing.
#[derive(Clone, Default)]
pub struct FailPoint(Option<(Arc<str>, fn())>);

impl std::fmt::Debug for FailPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FailPoint({:?})", self.0.as_ref().map(|(place, _)| place))
    }
}

impl FailPoint {
    /// The process aborts at this place; `None`: it never does.
    pub fn abort_at(place: Option<&str>) -> Self {
        place.map_or_else(Self::default, |place| Self::new(place, || std::process::abort()))
    }

    /// `death` is called at this place; a test that lives in the same process panics there.
    pub fn new(place: &str, death: fn()) -> Self {
        Self(Some((Arc::from(place), death)))
    }

    /// We are here.
    pub fn at(&self, place: &str) {
        if let Some((_, death)) = self.0.as_ref().filter(|(known, _)| **known == *place) {
            tracing::warn!(fail_point = place, "fail point reached");
            death();
        }
    }
}
