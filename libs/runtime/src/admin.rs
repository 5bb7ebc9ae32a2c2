//! The service's own HTTP port: `/health` (alive), `/health/ready` (may get work), `/health/database`,
//! `/metrics`, and routes that the service adds.
//!
//! Liveness checks no dependency (REL-08); readiness runs the checks that the service registered.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::database::Probe;

/// The check of the service's own database.
const DATABASE: &str = "database";
/// The check that process and database have the same time.
const CLOCK: &str = "clock";
/// How long the outcome of a check is told again. However often the pages are asked for, what is behind them
/// is asked once in this time.
const FRESH: Duration = Duration::from_secs(1);
/// Longest run of a check.
const LIMIT: Duration = Duration::from_secs(2);

type Run = Box<dyn Fn() -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>> + Send + Sync>;

/// One check with its last outcome. Those who ask while it runs wait for that run.
struct Check {
    name: &'static str,
    run: Run,
    last: Mutex<Option<(Instant, Outcome)>>,
}

/// Whether a check passed, and how long that took.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    passed: bool,
    took: Duration,
}

impl Check {
    async fn outcome(&self) -> Outcome {
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = *last
            && at.elapsed() < FRESH
        {
            return outcome;
        }
        let start = Instant::now();
        let passed = match tokio::time::timeout(LIMIT, (self.run)()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                self.tell(*last, &format!("{error:#}"));
                false
            }
            Err(_) => {
                self.tell(*last, "no answer in time");
                false
            }
        };
        let outcome = Outcome { passed, took: start.elapsed() };
        *last = Some((Instant::now(), outcome));
        outcome
    }

    /// Once for each time that it begins to fail.
    fn tell(&self, last: Option<(Instant, Outcome)>, error: &str) {
        if last.is_none_or(|(_, outcome)| outcome.passed) {
            tracing::warn!(check = self.name, error, "not ready");
        }
    }
}

/// Liveness and readiness of one process.
#[derive(Clone)]
pub struct Health {
    service: &'static str,
    serving: Arc<AtomicBool>,
    checks: Vec<Arc<Check>>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Health({})", self.service)
    }
}

impl Health {
    /// Ready as long as it serves.
    pub fn new(service: &'static str) -> Self {
        Self { service, serving: Arc::new(AtomicBool::new(true)), checks: Vec::new() }
    }

    /// Ready only while the database answers and its clock and ours agree; also answers `/health/database`.
    pub fn with_database(self, pool: &PgPool) -> Self {
        let (probe, clock) = (Probe::new(pool), Probe::new(pool));
        self.with_check(DATABASE, move || {
            let probe = probe.clone();
            async move { probe.answers().await.map(drop) }
        })
        .with_check(CLOCK, move || {
            let clock = clock.clone();
            async move { clock.clock_is_right().await }
        })
    }

    /// Ready only while `check` succeeds. A check has 2 s, and its outcome is told for a second.
    pub fn with_check<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let run: Run = Box::new(move || Box::pin(check()));
        self.checks.push(Arc::new(Check { name, run, last: Mutex::new(None) }));
        self
    }

    /// Readiness off for good: the process stops.
    pub fn stop_serving(&self) {
        self.serving.store(false, Ordering::SeqCst);
    }

    /// Is the process on its way down?
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::SeqCst)
    }

    /// Does the check of this name fail now? `None`: there is no such check.
    pub async fn failing_one(&self, wanted: &str) -> Option<bool> {
        Some(!self.outcome_of(wanted).await?.passed)
    }

    async fn outcome_of(&self, wanted: &str) -> Option<Outcome> {
        Some(self.checks.iter().find(|check| check.name == wanted)?.outcome().await)
    }

    /// Runs all checks at once; the names of those that failed.
    pub async fn failing(&self) -> Vec<&'static str> {
        let runs =
            self.checks.iter().map(async |check| (!check.outcome().await.passed).then_some(check.name));
        futures::future::join_all(runs).await.into_iter().flatten().collect()
    }
}

#[derive(Clone)]
struct Pages {
    health: Health,
    metrics: Metrics,
}

/// The pages of every service.
pub fn router(health: &Health, metrics: &Metrics) -> Router {
    Router::new()
        .route("/health", get(alive))
        .route("/health/ready", get(ready))
        .route("/health/database", get(database))
        .route("/metrics", get(scrape))
        .with_state(Pages { health: health.clone(), metrics: metrics.clone() })
}

/// Serves `router` until the process stops; open requests are finished.
pub async fn serve(address: SocketAddr, router: Router, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "http listening");
    crate::http::serve(listener, router, crate::http::Limits::INTERNAL, stop).await
}

async fn alive(State(pages): State<Pages>) -> Response {
    Json(json!({
        "status": "healthy",
        "service": pages.health.service,
        "version": env!("CARGO_PKG_VERSION"),
        "time": crate::clock::now().format(&time::format_description::well_known::Rfc3339).unwrap_or_default(),
    }))
    .into_response()
}

async fn ready(State(pages): State<Pages>) -> Response {
    if !pages.health.is_serving() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "stopping"}))).into_response();
    }
    let failing = pages.health.failing().await;
    if failing.is_empty() {
        Json(json!({"status": "ready"})).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "not_ready", "failing": failing})))
            .into_response()
    }
}

async fn database(State(pages): State<Pages>) -> Response {
    let Some(outcome) = pages.health.outcome_of(DATABASE).await else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let service = pages.health.service;
    if outcome.passed {
        let took = u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX);
        Json(json!({
            "status": "healthy", "service": service, "database": "connected", "latency_ms": took,
        }))
        .into_response()
    } else {
        let body = json!({"status": "unhealthy", "service": service, "database": "disconnected"});
        (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
    }
}

async fn scrape(State(pages): State<Pages>) -> Response {
    match pages.metrics.encode() {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
                .into_response()
        }
        Err(error) => {
            tracing::error!(error = %error, "metrics could not be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
