//! What the sweeps measure: how old their last word is, and what waits for a person.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use telemetry::metrics::Metrics;

/// What the sweeps measure.
#[derive(Debug, Clone, Default)]
pub struct SweepMetrics {
    last_sweep: Gauge<i64, AtomicI64>,
    sweep_seconds: Gauge<f64, AtomicU64>,
    last_round: Gauge<i64, AtomicI64>,
    round_seconds: Gauge<f64, AtomicU64>,
    awaiting_consent: Gauge<i64, AtomicI64>,
    unreadable: Gauge<i64, AtomicI64>,
}

impl SweepMetrics {
    /// Registers all of them.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register(
                "instance_last_sweep_timestamp",
                "When the last sweep of what is due ended; it is old when sweeps hang",
                this.last_sweep.clone(),
            );
            registry.register(
                "instance_last_sweep_seconds",
                "How long the last sweep took",
                this.sweep_seconds.clone(),
            );
            registry.register(
                "instance_last_round_timestamp",
                "When the last round over all live instances ended: no lost word of billing is older",
                this.last_round.clone(),
            );
            registry.register(
                "instance_last_round_seconds",
                "How long the last round over all live instances took",
                this.round_seconds.clone(),
            );
            registry.register(
                "instance_purge_awaits_consent",
                "Ended instances whose data is kept although its retention has passed: nobody has agreed",
                this.awaiting_consent.clone(),
            );
            registry.register(
                "instance_unreadable_rows",
                "Rows that lists have left out, because this release does not understand them",
                this.unreadable.clone(),
            );
        });
        this
    }

    /// A sweep ended.
    pub fn swept(&self, took: Duration, awaiting_consent: Option<i64>) {
        self.last_sweep.set(runtime::clock::now().unix_timestamp());
        self.sweep_seconds.set(took.as_secs_f64());
        if let Some(count) = awaiting_consent {
            self.awaiting_consent.set(count);
        }
        self.unreadable.set(i64::try_from(instance::store::unreadable()).unwrap_or(i64::MAX));
    }

    /// A round over all live instances ended.
    pub fn went_round(&self, took: Duration) {
        self.last_round.set(runtime::clock::now().unix_timestamp());
        self.round_seconds.set(took.as_secs_f64());
    }
}
