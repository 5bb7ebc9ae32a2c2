//! The service's own HTTP port: `/health` (alive), `/health/ready` (may get work), `/health/database`, `/metrics`, and routes that the service adds.
//!
//! Liveness checks no dependency (REL-08); readiness runs the checks that the service registered.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

type Check = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>> + Send + Sync>;

/// Liveness and readiness of one process.
#[derive(Clone)]
pub struct Health {
    service: &'static str,
    serving: Arc<AtomicBool>,
    checks: Vec<(&'static str, Check)>,
    database: Option<PgPool>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Health({})", self.service)
    }
}

impl Health {
    /// Ready as long as it serves.
    pub fn new(service: &'static str) -> Self {
        Self { service, serving: Arc::new(AtomicBool::new(true)), checks: Vec::new(), database: None }
    }

    /// Ready only while the database answers; also answers `/health/database`.
    pub fn with_database(mut self, pool: &PgPool) -> Self {
        self.database = Some(pool.clone());
        let pool = pool.clone();
        self.with_check("database", move || {
            let pool = pool.clone();
            async move { crate::database::ping(&pool).await.map(drop) }
        })
    }

    /// Ready only while `check` succeeds. A check has 2 s.
    pub fn with_check<F, Fut>(mut self, name: &'static str, check: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.checks.push((name, Arc::new(move || Box::pin(check()))));
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
        let (_, check) = self.checks.iter().find(|(name, _)| *name == wanted)?;
        let outcome = tokio::time::timeout(Duration::from_secs(2), check()).await;
        Some(!matches!(outcome, Ok(Ok(()))))
    }

    /// Runs all checks at once; the names of those that failed.
    pub async fn failing(&self) -> Vec<&'static str> {
        let runs = self.checks.iter().map(|(name, check)| async move {
            match tokio::time::timeout(Duration::from_secs(2), check()).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => {
                    tracing::debug!(check = name, error = format!("{error:#}"), "not ready");
                    Some(*name)
                }
                Err(_) => Some(*name),
            }
        });
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
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .context("the HTTP server failed")
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
    let Some(pool) = &pages.health.database else { return StatusCode::NOT_FOUND.into_response() };
    match crate::database::ping(pool).await {
        Ok(took) => Json(json!({
            "status": "healthy", "service": pages.health.service, "database": "connected", "latency_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }))
        .into_response(),
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "database does not answer");
            let body = json!({"status": "unhealthy", "service": pages.health.service, "database": "disconnected"});
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
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
