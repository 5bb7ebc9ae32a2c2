//! Counters of the engine (K8S-20, MON-07).

use std::sync::atomic::AtomicI64;

use instance::domain::OperationKind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Step {
    kind: &'static str,
    step: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

fn histogram() -> Histogram {
    Histogram::new([0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0])
}

/// Metrics of operations.
#[derive(Debug, Clone)]
pub struct Metrics {
    ended: Family<Ended, Counter>,
    retries: Family<Step, Counter>,
    seconds: Family<Kind, Histogram, fn() -> Histogram>,
    /// Operations in work on this worker.
    pub running: Gauge<i64, AtomicI64>,
    /// Operations that are queued or running anywhere.
    pub queue_depth: Gauge<i64, AtomicI64>,
}

impl Metrics {
    /// Registers all of them.
    pub fn new(metrics: &telemetry::metrics::Metrics) -> Self {
        let this = Self {
            ended: Family::default(),
            retries: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            running: Gauge::default(),
            queue_depth: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("operations_ended", "Operations by kind and outcome", this.ended.clone());
            registry.register(
                "operation_step_retries",
                "Further tries of a step after a failure that may pass",
                this.retries.clone(),
            );
            registry.register(
                "operation_seconds",
                "Time from the first claim to the end of an operation",
                this.seconds.clone(),
            );
            registry.register(
                "operations_in_work",
                "Operations in work on this worker",
                this.running.clone(),
            );
            registry.register("queue_depth", "Operations queued or running", this.queue_depth.clone());
        });
        this
    }

    pub(super) fn ended(&self, kind: OperationKind, outcome: &'static str, seconds: Option<f64>) {
        self.ended.get_or_create(&Ended { kind: kind.as_str(), outcome }).inc();
        if let Some(seconds) = seconds {
            self.seconds.get_or_create(&Kind { kind: kind.as_str() }).observe(seconds);
        }
    }

    pub(super) fn retried(&self, kind: OperationKind, step: &str) {
        self.retries.get_or_create(&Step { kind: kind.as_str(), step: step.to_owned() }).inc();
    }
}
