//! Metrics of orders and their sweep, registered in one place.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::metrics::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AtGateway {
    gateway: String,
    outcome: &'static str,
}

/// What orders and sweeps measure.
#[derive(Debug, Clone)]
pub struct BillingMetrics {
    orders: Family<Kind, Counter>,
    differences: Family<Kind, Counter>,
    order_seconds: Histogram,
    last_sweep: Gauge<i64, AtomicI64>,
    sweeps: Counter,
    sweep_seconds: Gauge<f64, AtomicU64>,
    invoices: Counter,
    payments: Counter,
    gateways: Family<AtGateway, Counter>,
    audit: Family<Kind, Gauge<i64, AtomicI64>>,
    last_audit: Gauge<i64, AtomicI64>,
}

impl BillingMetrics {
    /// Registers all of them.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self {
            orders: Family::default(),
            differences: Family::default(),
            order_seconds: Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0]),
            last_sweep: Gauge::default(),
            sweeps: Counter::default(),
            sweep_seconds: Gauge::default(),
            invoices: Counter::default(),
            payments: Counter::default(),
            gateways: Family::default(),
            audit: Family::default(),
            last_audit: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("billing_subscriptions", "Subscriptions made, by kind: trial, paid", this.orders.clone());
            registry.register(
                "billing_sweep_differences",
                "What the sweep had to mend, by kind: resumed, confirmed, taken_back, told_provider, unpaid, account",
                this.differences.clone(),
            );
            registry.register("billing_order_seconds", "Time of placing an order", this.order_seconds.clone());
            registry.register("billing_invoices", "Invoices issued", this.invoices.clone());
            registry.register("billing_payments", "Payments booked", this.payments.clone());
            registry.register(
                "billing_gateway_payments",
                "Payments through gateways, by outcome: begun, refused, no_answer, bad_hash, and the states that they came to",
                this.gateways.clone(),
            );
            registry.register(
                "billing_audit_findings",
                "What audits found and nobody has acknowledged, by kind: instance_without_subscription, subscription_without_instance, journal_unbalanced, total_differs, \
                 balance_differs, payment_differs, credit_differs, number_missing",
                this.audit.clone(),
            );
            registry.register("billing_last_audit_timestamp", "When the last audit ended", this.last_audit.clone());
            registry.register("billing_last_sweep_timestamp", "When the last sweep ended", this.last_sweep.clone());
            registry.register("billing_sweeps", "Sweeps that ended", this.sweeps.clone());
            registry.register(
                "billing_unreadable_rows",
                "Reads that met a row which this version cannot read and left it out, by table",
                crate::store::unreadable::counter(),
            );
            registry.register("billing_last_sweep_seconds", "How long the last sweep took", this.sweep_seconds.clone());
        });
        this
    }

    /// A subscription was made.
    pub fn ordered(&self, trial: bool) {
        self.orders.get_or_create(&Kind { kind: if trial { "trial" } else { "paid" } }).inc();
    }

    /// The sweep mended something.
    pub fn repaired(&self, kind: &'static str) {
        self.differences.get_or_create(&Kind { kind }).inc();
    }

    /// An order was placed.
    pub fn order_took(&self, took: std::time::Duration) {
        self.order_seconds.observe(took.as_secs_f64());
    }

    /// An invoice was issued.
    pub fn invoiced(&self) {
        self.invoices.inc();
    }

    /// A payment was booked.
    pub fn paid(&self) {
        self.payments.inc();
    }

    /// Something came of a payment through a gateway.
    pub fn gateway(&self, gateway: &str, outcome: &'static str) {
        self.gateways.get_or_create(&AtGateway { gateway: gateway.to_owned(), outcome }).inc();
    }

    /// What the audit found.
    pub fn audited(&self, kind: &'static str, found: i64) {
        self.audit.get_or_create(&Kind { kind }).set(found);
    }

    /// The last audit ended then.
    pub fn audit_ended(&self, at: time::OffsetDateTime) {
        self.last_audit.set(at.unix_timestamp());
    }

    /// A sweep ended.
    pub fn swept(&self, now: time::OffsetDateTime, took: std::time::Duration) {
        self.last_sweep.set(now.unix_timestamp());
        self.sweep_seconds.set(took.as_secs_f64());
        self.sweeps.inc();
    }
}
