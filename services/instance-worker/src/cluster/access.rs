//! The handle that everything else holds: client, cache, limit and counters.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::cache::Cache;
use super::connect::Connection;
use super::error::Error;
use super::limit::Limiter;

/// Longest wait for an answer to one call.
const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
    kind: String,
    outcome: &'static str,
}

/// Field manager of every write (K8S-15).
pub const FIELD_MANAGER: &str = "saasodoo-instance-worker";

/// Calls to the API.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    calls: Family<Labels, Counter>,
}

impl Metrics {
    /// Registers `kubernetes_api_calls`.
    pub fn new(metrics: &telemetry::metrics::Metrics) -> Self {
        let this = Self::default();
        metrics.register(|registry| {
            registry.register(
                "kubernetes_api_calls",
                "Calls to the Kubernetes API by verb, kind and outcome",
                this.calls.clone(),
            );
        });
        this
    }

    /// Calls of one verb, of any kind and outcome.
    pub(super) fn count(&self, verb: &'static str, kind: &str, outcome: &'static str) {
        self.calls.get_or_create(&Labels { verb, kind: kind.to_owned(), outcome }).inc();
    }
}

/// Access to the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: Connection,
    cache: Cache,
    limiter: Limiter,
    metrics: Metrics,
}

impl Cluster {
    /// Access through `connection`; at most `per_second` calls.
    pub fn new(connection: Connection, per_second: u32, metrics: Metrics) -> Self {
        let inner = Inner { connection, cache: Cache::default(), limiter: Limiter::new(per_second), metrics };
        Self { inner: Arc::new(inner) }
    }

    /// The client, for calls that are counted elsewhere (watches, logs, leases).
    pub fn client(&self) -> Result<Client, Error> {
        self.inner.connection.get().ok_or_else(|| Error::Unavailable("not connected yet".to_owned()))
    }

    /// Waits for a connection.
    pub async fn connected(&self) -> Client {
        self.inner.connection.clone().ready().await
    }

    /// What the leader's watches know.
    pub fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// Does the API server answer now?
    pub async fn check(&self) -> Result<(), Error> {
        let client = self.client()?;
        self.call("get", "Version", "version", async { client.apiserver_version().await }).await.map(drop)
    }

    /// One call: limited, with a deadline, counted, its error typed. `what` names the object in errors.
    pub(super) async fn call<T>(
        &self,
        verb: &'static str,
        kind: &str,
        what: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Error> {
        self.inner.limiter.wait().await;
        let answer = match tokio::time::timeout(DEADLINE, call).await {
            Ok(answer) => answer.map_err(|error| Error::of(what, error)),
            Err(_) => Err(Error::Unavailable(format!("{what}: no answer within {} s", DEADLINE.as_secs()))),
        };
        self.inner.metrics.count(verb, kind, answer.as_ref().map_or_else(Error::reason, |_| "ok"));
        answer
    }
}
