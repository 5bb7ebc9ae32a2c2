//! States of a pool and its health. All changes of a state go through [`PoolStatus::after`] (DBS-16).

use super::words;

words! {
    /// What a server is for.
    ServerType {
        /// The platform's own databases.
        Platform = "platform",
        /// Many tenants.
        Shared = "shared",
        /// One tenant.
        Dedicated = "dedicated",
    }
}

words! {
    /// State of a pool (DBS-16).
    PoolStatus {
        /// Ordered; the worker makes its objects.
        Provisioning = "provisioning",
        /// The objects exist; this service has not reached the server yet.
        Initializing = "initializing",
        /// Takes tenants.
        Active = "active",
        /// Every slot is taken.
        Full = "full",
        /// An operator keeps new tenants away.
        Maintenance = "maintenance",
        /// It did not come up, or was given up.
        Error = "error",
        /// The worker removes its objects.
        Deprovisioning = "deprovisioning",
        /// Nothing is left but the row.
        Deprovisioned = "deprovisioned",
    }
}

words! {
    /// Result of the last checks (DBS-17).
    HealthStatus {
        /// Never checked.
        Unknown = "unknown",
        /// The last check was good.
        Healthy = "healthy",
        /// One or two bad checks in a row.
        Degraded = "degraded",
        /// Three or more.
        Unhealthy = "unhealthy",
    }
}

words! {
    /// What the worker saw of the pool's objects.
    Observed {
        /// Nothing was reported yet.
        Nothing = "",
        /// The objects were applied.
        Applied = "applied",
        /// The pod is ready.
        Ready = "ready",
        /// The pod is not ready.
        NotReady = "not_ready",
        /// The objects are gone.
        Removed = "removed",
        /// The pod cannot come up now.
        Failed = "failed",
    }
}

/// Bad checks in a row that make a pool unhealthy.
pub const UNHEALTHY_AFTER: i32 = 3;

impl HealthStatus {
    /// Health after `failures` bad checks in a row; 0 is a good check.
    pub fn after_failures(failures: i32) -> Self {
        match failures {
            i32::MIN..=0 => Self::Healthy,
            1..UNHEALTHY_AFTER => Self::Degraded,
            _ => Self::Unhealthy,
        }
    }
}

/// Slots of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Taken.
    pub current: i32,
    /// At most.
    pub max: i32,
}

impl Fill {
    /// No slot is left.
    pub fn is_full(self) -> bool {
        self.current >= self.max
    }
}

/// What happens to a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolEvent {
    /// The worker made its objects.
    ObjectsMade,
    /// This service connected, wrote and read.
    CheckPassed,
    /// A slot was taken or given back.
    FillChanged,
    /// An operator takes it out of selection.
    MaintenanceBegun,
    /// An operator puts it back.
    MaintenanceEnded,
    /// It did not come up within its time, or is lost.
    GivenUp,
    /// Its objects shall go.
    RemovalOrdered,
    /// Its objects are gone.
    ObjectsGone,
}

impl PoolEvent {
    /// All events.
    pub const ALL: [Self; 8] = [
        Self::ObjectsMade,
        Self::CheckPassed,
        Self::FillChanged,
        Self::MaintenanceBegun,
        Self::MaintenanceEnded,
        Self::GivenUp,
        Self::RemovalOrdered,
        Self::ObjectsGone,
    ];
}

/// The event is not possible in the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} is not possible while the pool is {from}")]
pub struct InvalidTransition {
    /// State before.
    pub from: PoolStatus,
    /// What was wanted.
    pub event: PoolEvent,
}

impl PoolStatus {
    /// The state after `event`. Repeating an event is a success that changes nothing.
    pub fn after(self, event: PoolEvent, fill: Fill) -> Result<Self, InvalidTransition> {
        use PoolEvent as E;
        let serving = if fill.is_full() { Self::Full } else { Self::Active };
        let empty = fill.current == 0;
        match (self, event) {
            (Self::Provisioning, E::ObjectsMade) => Ok(Self::Initializing),
            (Self::Initializing | Self::Error | Self::Active | Self::Full, E::CheckPassed)
            | (Self::Active | Self::Full, E::FillChanged)
            | (Self::Maintenance, E::MaintenanceEnded) => Ok(serving),
            (Self::Active | Self::Full | Self::Maintenance, E::MaintenanceBegun) => Ok(Self::Maintenance),
            (Self::Deprovisioning, E::RemovalOrdered) => Ok(Self::Deprovisioning),
            (Self::Deprovisioning | Self::Deprovisioned, E::ObjectsGone) => Ok(Self::Deprovisioned),
            (Self::Deprovisioned, _) | (Self::Deprovisioning, E::GivenUp) => {
                Err(InvalidTransition { from: self, event })
            }
            (_, E::GivenUp) => Ok(Self::Error),
            (Self::Error | Self::Active, E::RemovalOrdered) if empty => Ok(Self::Deprovisioning),
            // News that do not move this state: a report for a pool that is further on, a check of one in
            // maintenance, a slot given back in error.
            (_, E::ObjectsMade | E::FillChanged)
            | (Self::Maintenance, E::CheckPassed)
            | (Self::Active | Self::Full, E::MaintenanceEnded) => Ok(self),
            _ => Err(InvalidTransition { from: self, event }),
        }
    }

    /// Shall the worker keep objects for it?
    pub fn wants_objects(self) -> bool {
        !matches!(self, Self::Deprovisioning | Self::Deprovisioned)
    }

    /// Not yet ready for its first tenant.
    pub fn is_in_the_making(self) -> bool {
        matches!(self, Self::Provisioning | Self::Initializing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF: Fill = Fill { current: 25, max: 50 };
    const FULL: Fill = Fill { current: 50, max: 50 };
    const EMPTY: Fill = Fill { current: 0, max: 50 };

    /// DBS-16
    #[test]
    fn a_pool_walks_from_order_to_service_and_away() {
        let status = PoolStatus::Provisioning;
        let status = status.after(PoolEvent::ObjectsMade, EMPTY).unwrap();
        assert_eq!(status, PoolStatus::Initializing);
        let status = status.after(PoolEvent::CheckPassed, EMPTY).unwrap();
        assert_eq!(status, PoolStatus::Active);
        let status = status.after(PoolEvent::FillChanged, FULL).unwrap();
        assert_eq!(status, PoolStatus::Full);
        let status = status.after(PoolEvent::MaintenanceBegun, FULL).unwrap();
        let status = status.after(PoolEvent::MaintenanceEnded, HALF).unwrap();
        assert_eq!(status, PoolStatus::Active);
        assert!(status.after(PoolEvent::RemovalOrdered, HALF).is_err(), "it holds tenants");
        let status = status.after(PoolEvent::RemovalOrdered, EMPTY).unwrap();
        assert_eq!(status.after(PoolEvent::ObjectsGone, EMPTY), Ok(PoolStatus::Deprovisioned));
    }

    /// DBS-16
    #[test]
    fn an_unreached_pool_never_becomes_active_without_a_check() {
        for event in PoolEvent::ALL.into_iter().filter(|event| *event != PoolEvent::CheckPassed) {
            for from in [PoolStatus::Provisioning, PoolStatus::Initializing, PoolStatus::Error] {
                let to = from.after(event, HALF).unwrap_or(from);
                assert!(!matches!(to, PoolStatus::Active | PoolStatus::Full), "{from} {event:?}");
            }
        }
        assert!(PoolStatus::Provisioning.after(PoolEvent::CheckPassed, EMPTY).is_err());
    }

    /// DBS-17
    #[test]
    fn health_follows_failures_in_a_row() {
        use HealthStatus::{Degraded, Healthy, Unhealthy};
        let healths: Vec<_> = (0..5).map(HealthStatus::after_failures).collect();
        assert_eq!(healths, [Healthy, Degraded, Degraded, Unhealthy, Unhealthy]);
    }

    fn any_event() -> impl Strategy<Value = PoolEvent> {
        proptest::sample::select(PoolEvent::ALL.to_vec())
    }

    proptest! {
        /// DBS-16: whatever happens, a pool with tenants is never removed, nothing leaves the last state, and
        /// a repeat changes nothing.
        #[test]
        fn any_sequence_of_events_keeps_the_invariants(steps in proptest::collection::vec((any_event(), 0..=3), 0..60)) {
            let mut status = PoolStatus::Provisioning;
            for (event, current) in steps {
                let fill = Fill { current, max: 3 };
                let Ok(next) = status.after(event, fill) else { continue };
                if next == PoolStatus::Deprovisioning && status != next {
                    prop_assert_eq!(current, 0);
                }
                if status == PoolStatus::Deprovisioned {
                    prop_assert_eq!(next, PoolStatus::Deprovisioned);
                }
                if matches!(next, PoolStatus::Active) && event == PoolEvent::FillChanged {
                    prop_assert!(current < 3);
                }
                if let Ok(again) = next.after(event, fill) {
                    prop_assert_eq!(again, next);
                }
                status = next;
            }
        }
    }
}
