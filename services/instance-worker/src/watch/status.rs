//! How the watches are: for the monitoring row (MON-04), the metrics and the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use instance::store::monitoring::Report;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use time::OffsetDateTime;

/// Shared by all streams of a worker. Clones see the same.
#[derive(Debug, Clone, Default)]
pub struct Status {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    streams: Mutex<BTreeMap<&'static str, Stream>>,
    reconnects: AtomicU64,
    leads: Gauge<i64, AtomicI64>,
    age: Gauge<i64, AtomicI64>,
    reconnects_total: Counter,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    connected: bool,
    last_event_at: Option<OffsetDateTime>,
    last_relist_at: Option<OffsetDateTime>,
    resource_version: String,
}

impl Status {
    /// Registers `watch_leads`, `watch_age_seconds` and `watch_reconnects`.
    pub fn new(metrics: &telemetry::metrics::Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register("watch_leads", "1 while this worker leads", this.inner.leads.clone());
            registry.register(
                "watch_age_seconds",
                "Time since the watches were last known to be connected",
                this.inner.age.clone(),
            );
            registry.register(
                "watch_reconnects",
                "Watch streams that were lost and made again",
                this.inner.reconnects_total.clone(),
            );
        });
        this
    }

    fn with<R>(&self, kind: &'static str, change: impl FnOnce(&mut Stream) -> R) -> R {
        let mut streams = self.inner.streams.lock().unwrap_or_else(PoisonError::into_inner);
        change(streams.entry(kind).or_default())
    }

    /// This worker leads, or does not any more.
    pub fn set_leading(&self, leads: bool) {
        self.inner.leads.set(i64::from(leads));
        if !leads {
            self.inner.streams.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.inner.reconnects.store(0, Ordering::SeqCst);
        }
    }

    pub(super) fn begin(&self, kind: &'static str) {
        self.with(kind, |stream| stream.connected = false);
    }

    pub(super) fn connected(&self, kind: &'static str) {
        self.with(kind, |stream| stream.connected = true);
    }

    pub(super) fn relisted(&self, kind: &'static str) {
        self.with(kind, |stream| {
            stream.connected = true;
            stream.last_relist_at = Some(runtime::clock::now());
        });
    }

    pub(super) fn event(&self, kind: &'static str, resource_version: Option<&str>) {
        self.with(kind, |stream| {
            stream.connected = true;
            stream.last_event_at = Some(runtime::clock::now());
            if let Some(version) = resource_version {
                version.clone_into(&mut stream.resource_version);
            }
        });
    }

    pub(super) fn lost(&self, kind: &'static str) {
        self.with(kind, |stream| stream.connected = false);
        self.inner.reconnects.fetch_add(1, Ordering::SeqCst);
        self.inner.reconnects_total.inc();
    }

    /// Are all streams connected?
    pub fn all_connected(&self) -> bool {
        let streams = self.inner.streams.lock().unwrap_or_else(PoisonError::into_inner);
        !streams.is_empty() && streams.values().all(|stream| stream.connected)
    }

    /// For the row.
    pub fn report(&self, instances_tracked: usize, queue_depth: i64, interval_seconds: i64) -> Report {
        let connected = self.all_connected();
        if connected {
            self.inner.age.set(0);
        } else {
            self.inner.age.inc_by(interval_seconds);
        }
        let streams = self.inner.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let pods = streams.get("pods").cloned().unwrap_or_default();
        Report {
            watch_connected: connected,
            last_event_at: streams.values().filter_map(|stream| stream.last_event_at).max(),
            last_relist_at: streams.values().filter_map(|stream| stream.last_relist_at).max(),
            resource_version: pods.resource_version,
            reconnects: i64::try_from(self.inner.reconnects.load(Ordering::SeqCst)).unwrap_or(i64::MAX),
            instances_tracked: i64::try_from(instances_tracked).unwrap_or(i64::MAX),
            queue_depth,
        }
    }
}
