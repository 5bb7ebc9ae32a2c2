//! Metrics of the HTTP port, by route template and never by what a client wrote (MON-07).

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use telemetry::metrics::Metrics;

/// Labels of an answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// Template of the route.
    pub route: String,
    /// Method.
    pub method: String,
    /// Status of the answer.
    pub status: u16,
}

/// Labels of the times.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Route {
    /// Template of the route.
    pub route: String,
    /// Method.
    pub method: String,
}

/// Requests by route template, method and status, and their times.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// Answered requests.
    pub requests: Family<Answered, Counter>,
    /// Times until the head of the answer.
    pub seconds: Family<Route, Histogram, fn() -> Histogram>,
}

fn histogram() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0])
}

impl HttpMetrics {
    /// Registers them.
    pub fn new(metrics: &Metrics) -> Self {
        let this = Self { requests: Family::default(), seconds: Family::new_with_constructor(histogram) };
        metrics.register(|registry| {
            registry.register(
                "http_server_requests",
                "HTTP requests by route, method and status",
                this.requests.clone(),
            );
            registry.register(
                "http_server_request_seconds",
                "Time of HTTP requests until the head of the answer",
                this.seconds.clone(),
            );
        });
        this
    }
}
