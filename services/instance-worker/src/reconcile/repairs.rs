//! Counters of the reconciler.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::troubles::Troubles;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    object: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trouble {
    trouble: &'static str,
}

/// What was repaired, what no repair brings back, and what belongs to nobody.
#[derive(Debug, Clone, Default)]
pub struct Repairs {
    applied: Family<Labels, Counter>,
    /// Objects with our label and no row.
    pub orphans: Gauge<i64, AtomicI64>,
    troubles: Family<Trouble, Gauge<i64, AtomicI64>>,
    /// Time of the last full comparison, in milliseconds.
    pub last_full_ms: Gauge<i64, AtomicI64>,
}

impl Repairs {
    /// Registers `drift_repairs`, `orphan_objects`, `instances_in_trouble` and `reconcile_full_milliseconds`.
    pub fn new(metrics: &telemetry::metrics::Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register(
                "drift_repairs",
                "Objects that were made anew or changed back",
                this.applied.clone(),
            );
            registry.register(
                "orphan_objects",
                "Objects with the platform's label whose instance has no row",
                this.orphans.clone(),
            );
            registry.register(
                "instances_in_trouble",
                "Instances whose volume is lost or being deleted, with objects that no repair brings back or that \
                 somebody changes again and again, or that could not be compared for a while",
                this.troubles.clone(),
            );
            registry.register(
                "reconcile_full_milliseconds",
                "Time of the last comparison of all instances",
                this.last_full_ms.clone(),
            );
        });
        this
    }

    pub(super) fn tell(&self, troubles: &Troubles) {
        let words = ["volume_lost", "volume_deleting", "not_repaired", "repairs_slowed", "not_compared"];
        for (trouble, count) in words.into_iter().zip(troubles.count()) {
            let gauge = self.troubles.get_or_create(&Trouble { trouble });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn count(&self, object: &'static str) {
        self.applied.get_or_create(&Labels { object }).inc();
    }
}
