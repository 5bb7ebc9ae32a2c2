//! Metrics of this service besides those of gRPC and the outbox.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use telemetry::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters and gauges.
#[derive(Debug, Clone, Default)]
pub struct UserMetrics {
    logins: Family<Outcome, Counter>,
    mails_pending: Gauge<i64, AtomicI64>,
    closures_pending: Gauge<i64, AtomicI64>,
}

impl UserMetrics {
    /// Registers all.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register(
                "logins",
                "Log-ins by outcome: ok, or the reason of the refusal",
                this.logins.clone(),
            );
            registry.register(
                "mail_requests_pending",
                "Mails with a token that notification-service has not taken yet",
                this.mails_pending.clone(),
            );
            registry.register(
                "closures_pending",
                "Closed accounts whose instances are not terminated yet",
                this.closures_pending.clone(),
            );
        });
        this
    }

    /// Counts a log-in.
    pub fn login(&self, outcome: &'static str) {
        self.logins.get_or_create(&Outcome { outcome }).inc();
    }

    /// Sets the number of waiting mails.
    pub fn set_mails_pending(&self, count: i64) {
        self.mails_pending.set(count);
    }

    /// Sets the number of waiting closures.
    pub fn set_closures_pending(&self, count: i64) {
        self.closures_pending.set(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_counted_by_outcome() {
        let metrics = Metrics::new();
        let ours = UserMetrics::new(&metrics);
        ours.login("ok");
        ours.login("invalid_credentials");
        ours.login("invalid_credentials");
        ours.set_mails_pending(3);
        let text = metrics.encode().unwrap();
        assert!(text.contains("logins_total{outcome=\"invalid_credentials\"} 2"), "{text}");
        assert!(text.contains("mail_requests_pending 3"), "{text}");
    }
}
