//! Metrics of this service. Gauges of pools are the leader's: it alone sets them, and clears them when it no
//! longer leads.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::metrics::Metrics;

use crate::domain::pool::HealthStatus;
use crate::domain::server::Server;
use crate::store::certificates::Wanted;

/// One label: how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// Word.
    pub outcome: &'static str,
}

/// Which server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PoolLabel {
    /// Name.
    pub pool: String,
    /// shared or dedicated.
    pub server_type: String,
}

type Share = Gauge<f64, AtomicU64>;

/// Counters of allocations, checks and ordered pools; gauges of the pools.
#[derive(Debug, Clone, Default)]
pub struct ServiceMetrics {
    /// Answers of `Allocate`: allocated, provisioning, failed.
    pub allocations: Family<Outcome, Counter>,
    /// Checks of servers: passed, failed.
    pub checks: Family<Outcome, Counter>,
    /// Pools ordered.
    pub ordered: Counter,
    /// Requests without a database.
    pub pending: Gauge,
    fill: Family<PoolLabel, Share>,
    failures: Family<PoolLabel, Gauge>,
    healthy: Family<PoolLabel, Gauge>,
    disk_free: Family<PoolLabel, Share>,
    connections: Family<PoolLabel, Share>,
    certificate_served: Family<PoolLabel, Gauge>,
    certificate_end: Family<PoolLabel, Gauge>,
    leads: Gauge,
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
            registry.register(
                "database_pending_allocations",
                "Requests without a database",
                this.pending.clone(),
            );
            registry.register("database_pool_fill_ratio", "Slots taken, of all", this.fill.clone());
            registry.register(
                "database_pool_failed_checks",
                "Bad checks in a row; 3 make a pool unhealthy",
                this.failures.clone(),
            );
            registry.register(
                "database_pool_healthy",
                "1 while the last check was good",
                this.healthy.clone(),
            );
            registry.register(
                "database_pool_disk_free_ratio",
                "Free space of the volume, of all",
                this.disk_free.clone(),
            );
            registry.register(
                "database_pool_connections_ratio",
                "Connections in use, of all",
                this.connections.clone(),
            );
            registry.register(
                "database_server_certificate_served",
                "1 while the server serves the certificate that it shall",
                this.certificate_served.clone(),
            );
            registry.register(
                "database_server_certificate_not_after_seconds",
                "End of the certificate that the server shall serve, in Unix time; it is renewed 30 days before",
                this.certificate_end.clone(),
            );
            registry.register(
                "database_background_leader",
                "1 in the replica that does the background work",
                this.leads.clone(),
            );
        });
        this
    }

    /// What the leader sees of all servers now.
    pub fn show(&self, servers: &[Server], pending: i64) {
        self.clear_pools();
        self.leads.set(1);
        self.pending.set(pending);
        for server in servers {
            let label = PoolLabel { pool: server.name.clone(), server_type: server.server_type.to_string() };
            let fill = share(server.fill.current.into(), server.fill.max.into());
            self.fill.get_or_create(&label).set(fill);
            self.failures.get_or_create(&label).set(server.failures.into());
            self.healthy.get_or_create(&label).set((server.health == HealthStatus::Healthy).into());
            if let (Some(free), Some(total)) = (server.measured.disk.free, server.measured.disk.total) {
                self.disk_free.get_or_create(&label).set(share(free, total));
            }
            let used = share(server.measured.connections.into(), server.measured.max_connections.into());
            self.connections.get_or_create(&label).set(used);
        }
    }

    /// What the leader knows of all certificates now.
    pub fn show_certificates(&self, servers: &[Server], certificates: &[Wanted]) {
        self.certificate_served.clear();
        self.certificate_end.clear();
        for certificate in certificates {
            let Some(server) = servers.iter().find(|server| server.id == certificate.server) else {
                continue;
            };
            let label = PoolLabel { pool: server.name.clone(), server_type: server.server_type.to_string() };
            let good = certificate.served == certificate.fingerprint;
            self.certificate_served.get_or_create(&label).set(good.into());
            self.certificate_end.get_or_create(&label).set(certificate.not_after.unix_timestamp());
        }
    }

    /// This replica does not lead: it tells nothing of pools.
    pub fn clear(&self) {
        self.leads.set(0);
        self.pending.set(0);
        self.clear_pools();
        self.certificate_served.clear();
        self.certificate_end.clear();
    }

    fn clear_pools(&self) {
        self.fill.clear();
        self.failures.clear();
        self.healthy.clear();
        self.disk_free.clear();
        self.connections.clear();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no exact numbers")]
fn share(part: i64, whole: i64) -> f64 {
    if whole <= 0 { 0.0 } else { part as f64 / whole as f64 }
}
