//! The assembly: routes and layers to one service, and the port that it answers on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, State};
use axum::middleware::from_fn_with_state;
use runtime::http::Sources;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;
use tower_http::normalize_path::NormalizePathLayer;

use crate::api::RouteInfo;
use crate::context::Ctx;
use crate::inputs::one_of;
use crate::layers::{bounds, headers, observe};
use crate::problem::Problem;
use crate::rate_limit::Counted;
use crate::routes;
use crate::state::App;

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
        .layer(from_fn_with_state(app.clone(), bounds::bound))
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
    let proxies = app.trusted_proxies.clone();
    let sources = Sources::new(move |peer| proxies.iter().any(|network| network.contains(peer)));
    let server = runtime::http::serve_sources(listener, router, app.connections, sources, stop.clone());
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
