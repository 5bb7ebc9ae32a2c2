//! What the handlers share, and the assembly of routes and layers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, State};
use axum::middleware::{from_fn, from_fn_with_state};
use contracts::services::GATEWAY;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use runtime::config::{Redis, require_strong};
use runtime::grpc::Dialer;
use runtime::http::Limits;
use runtime::identity::{ServiceKeys, ServiceSigner, UserVerifier};
use secrecy::ExposeSecret as _;
use telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower_http::normalize_path::NormalizePathLayer;

use crate::clients::Clients;
use crate::config::Config;
use crate::context::Ctx;
use crate::inputs::one_of;
use crate::layers::{bounds, headers, observe};
use crate::network::Network;
use crate::problem::Problem;
use crate::rate_limit::{Counted, Limiter};
use crate::routes;
use crate::routes::health::{HealthCache, health_cache};
use crate::session::Sessions;
use crate::streams::Streams;

/// Longest time for the head of a request, and for an idle connection.
const HEAD: Duration = Duration::from_secs(20);

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct App(Arc<Parts>);

/// The parts of [`App`].
#[derive(Debug)]
pub struct Parts {
    pub(crate) clients: Clients,
    pub(crate) verifier: UserVerifier,
    pub(crate) services: ServiceKeys,
    pub(crate) sessions: Sessions,
    pub(crate) limiter: Limiter,
    pub(crate) metrics: observe::HttpMetrics,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) origins: Vec<String>,
    pub(crate) tls: bool,
    pub(crate) docs: bool,
    pub(crate) public_url: String,
    pub(crate) stop: CancellationToken,
    pub(crate) streams: Streams,
    pub(crate) health: HealthCache,
    pub(crate) max_connections: usize,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// One line of the route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// Upper-case method.
    pub method: String,
    /// Template, such as `/instance/instances/{id}`.
    pub path: String,
    /// public, customer, operator, admin, `super_admin`; with `/service` behind it where services may too.
    pub access: &'static str,
}

impl App {
    /// Fails with the name of a setting that is missing, weak or wrong. Connects to nothing yet.
    pub fn try_new(config: &Config, metrics: &Metrics, stop: CancellationToken) -> anyhow::Result<Self> {
        require_strong(config.common.environment, "REDIS_PASSWORD", &config.redis.redis_password)?;
        Self::with_redis(config, redis_address(&config.redis)?, metrics, stop)
    }

    /// The same with Redis at another address.
    pub fn with_redis(
        config: &Config,
        redis: ConnectionInfo,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let signer = ServiceSigner::try_new(GATEWAY, &config.identity)?;
        let dialer = Dialer::try_new(signer, &config.common.grpc_tls)?;
        let clients = Clients::try_new(&dialer, &config.services)?;
        let scheme = if config.edge.tls_enabled { "https" } else { "http" };
        Ok(Self(Arc::new(Parts {
            verifier: UserVerifier::try_new(&config.users, config.common.environment)?,
            services: ServiceKeys::try_new(GATEWAY, &config.identity)?,
            sessions: Sessions::new(clients.sessions.clone()),
            clients,
            limiter: Limiter::try_new(redis, &config.limits)?,
            metrics: observe::HttpMetrics::new(metrics),
            trusted_proxies: config.edge.trusted(config.common.environment)?,
            origins: config.edge.origins(),
            tls: config.edge.tls_enabled,
            docs: config.docs_enabled(),
            public_url: format!("{scheme}://api.{}", config.edge.base_domain),
            stop,
            streams: Streams::default(),
            health: health_cache(),
            max_connections: usize::try_from(config.max_connections).unwrap_or(usize::MAX),
        })))
    }
}

fn redis_address(settings: &Redis) -> anyhow::Result<ConnectionInfo> {
    let address = ConnectionAddr::Tcp(settings.redis_host.clone(), settings.redis_port);
    let login = RedisConnectionInfo::default()
        .set_db(settings.redis_db)
        .set_password(settings.redis_password.expose_secret());
    let info = address.into_connection_info().context("REDIS_HOST and REDIS_PORT")?;
    Ok(info.set_redis_settings(login))
}

/// All routes with all layers.
pub fn router(app: &App) -> anyhow::Result<Router> {
    let finished = routes::all(app);
    let methods = methods(&finished.table);
    let routes = finished
        .router
        .fallback(unknown_path)
        .method_not_allowed_fallback(async move |path: MatchedPath| {
            let known = methods.get(path.as_str()).map(|known| one_of(known)).unwrap_or_default();
            Problem::new(
                http::StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                format!("the path has no such method: use {known}"),
            )
        })
        .layer(DefaultBodyLimit::max(bounds::BODY))
        .layer(from_fn(bounds::bound))
        .layer(headers::cors(&app.origins)?)
        .layer(from_fn_with_state(app.clone(), headers::protect))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .with_state(app.clone());
    // The slash must go before the routes are looked at, so this layer stands around the router and not in it.
    Ok(Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(routes)))
}

/// The methods of each path.
fn methods(table: &[RouteInfo]) -> Arc<HashMap<String, Vec<String>>> {
    let mut methods: HashMap<String, Vec<String>> = HashMap::new();
    for route in table {
        methods.entry(route.path.clone()).or_default().push(route.method.clone());
    }
    Arc::new(methods)
}

/// Whoever tries paths out is counted like whoever uses them.
async fn unknown_path(State(app): State<App>, context: Ctx) -> Problem {
    match app.limiter.take(&Counted::Anonymous(context.client_ip)).await {
        Ok(()) => Problem::not_found("path"),
        Err(problem) => problem,
    }
}

/// The route table, for tests and tools.
pub fn table(app: &App) -> Vec<RouteInfo> {
    routes::all(app).table
}

/// The OpenAPI document.
pub fn document(app: &App) -> serde_json::Value {
    routes::all(app).document
}

/// Serves the public API until the process stops; open requests have `drain` to end (GTW-17).
pub async fn serve(
    address: SocketAddr,
    app: App,
    stop: CancellationToken,
    drain: Duration,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    serve_on(listener, app, stop, drain).await
}

/// Serves on an open listener (tests use port 0).
pub async fn serve_on(
    listener: TcpListener,
    app: App,
    stop: CancellationToken,
    drain: Duration,
) -> anyhow::Result<()> {
    let router = router(&app)?;
    tracing::info!(address = %listener.local_addr()?, "public API listening");
    let limits = Limits { connections: app.max_connections, head: HEAD };
    let server = runtime::http::serve(listener, router, limits, stop.clone());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = server => ended,
        () = late => {
            tracing::warn!("requests were open at the end of the drain");
            Ok(())
        }
    }
}
