//! Metrics of this service.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use telemetry::metrics::Metrics;

/// One label: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// Word.
    pub outcome: &'static str,
}

/// Counters of allocations, checks and ordered pools.
#[derive(Debug, Clone, Default)]
pub struct ServiceMetrics {
    /// Answers of `Allocate`: allocated, provisioning, failed.
    pub allocations: Family<Outcome, Counter>,
    /// Checks of servers: passed, failed.
    pub checks: Family<Outcome, Counter>,
    /// Pools ordered.
    pub ordered: Counter,
}

impl ServiceMetrics {
    /// Registers all of them.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register("database_allocations", "Allocate calls by outcome", this.allocations.clone());
            registry.register(
                "database_server_checks",
                "Checks of database servers by outcome",
                this.checks.clone(),
            );
            registry.register("database_pools_ordered", "Pools ordered", this.ordered.clone());
        });
        this
    }
}
