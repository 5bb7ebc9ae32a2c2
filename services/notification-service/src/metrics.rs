//! Metrics of the queue, registered in one place.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::metrics::Metrics;

/// Labels of the attempts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Attempt {
    /// Registry name.
    pub template: String,
    /// sent, deferred, postponed, failed, cancelled.
    pub outcome: &'static str,
}

/// What the senders measure.
#[derive(Debug, Clone)]
pub struct MailMetrics {
    /// Attempts by template and outcome.
    pub attempts: Family<Attempt, Counter>,
    /// Time of the SMTP dialogue.
    pub smtp_seconds: Histogram,
    /// From the order to the hand-over.
    pub delivery_seconds: Histogram,
    /// Mails that wait.
    pub depth: Gauge<i64, AtomicI64>,
    /// Age of the oldest of them.
    pub oldest_seconds: Gauge<i64, AtomicI64>,
    /// 1 while the mail server counts as away.
    pub circuit_open: Gauge<i64, AtomicI64>,
}

impl MailMetrics {
    /// Registers all of them.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self {
            attempts: Family::default(),
            smtp_seconds: Histogram::new([
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ]),
            delivery_seconds: Histogram::new([
                0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0,
            ]),
            depth: Gauge::default(),
            oldest_seconds: Gauge::default(),
            circuit_open: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("mails", "Attempts to send by template and outcome", this.attempts.clone());
            registry.register(
                "smtp_seconds",
                "Time of the SMTP dialogue of one mail",
                this.smtp_seconds.clone(),
            );
            registry.register(
                "mail_delivery_seconds",
                "Time from the order of a mail to its hand-over",
                this.delivery_seconds.clone(),
            );
            registry.register("mail_queue_depth", "Mails that wait or are on their way", this.depth.clone());
            registry.register(
                "mail_oldest_waiting_seconds",
                "Age of the oldest mail that waits",
                this.oldest_seconds.clone(),
            );
            registry.register(
                "smtp_circuit_open",
                "1 while the mail server counts as away",
                this.circuit_open.clone(),
            );
        });
        this
    }
}
