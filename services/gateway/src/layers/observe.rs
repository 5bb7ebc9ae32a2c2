//! The outermost layer: request id (GTW-12), client address, span, log line, metrics by route template
//! (MON-07), and panics as problems.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::context::Ctx;
use crate::metrics::{Answered, Route};
use crate::network::client_address;
use crate::problem::{Problem, REQUEST_ID};
use crate::state::App;

/// The layer.
pub async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let request_id = request_id(request.headers());
    // Only known methods and templates become labels: their number must not be up to the client.
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known.to_owned(),
        _ => "other".to_owned(),
    };
    let span = tracing::info_span!(
        "http",
        http.method = method,
        http.route = route,
        request.id = request_id,
        trace.id = tracing::field::Empty
    );
    telemetry::context::continue_from(&span, request.headers());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let forwarded = request.headers().get_all("x-forwarded-for");
    let client_ip = peer.map(|peer| {
        let lines: Vec<&str> = forwarded.iter().filter_map(|line| line.to_str().ok()).collect();
        client_address(peer, lines.into_iter(), &app.trusted_proxies)
    });
    request.extensions_mut().insert(Ctx {
        request_id: request_id.as_str().into(),
        client_ip,
        user: None,
        service: None,
    });
    let start = Instant::now();
    let work = async {
        let response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a handler panicked");
            Problem::internal().into_response()
        });
        let status = response.status().as_u16();
        let took = start.elapsed();
        let took_ms = took.as_secs_f64() * 1000.0;
        if route.ends_with("/health") && status == 200 {
            // Probes ask every few seconds.
            tracing::debug!(http.status = status, took_ms, "request answered");
        } else {
            tracing::info!(http.status = status, took_ms, "request answered");
        }
        let seconds = Route { route: route.clone(), method: method.clone() };
        app.metrics.seconds.get_or_create(&seconds).observe(took.as_secs_f64());
        app.metrics.requests.get_or_create(&Answered { route, method, status }).inc();
        response
    };
    let mut response = REQUEST_ID.scope(request_id.clone(), work.instrument(span)).await;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

/// The caller's id when it is a UUID, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    given.and_then(|id| Uuid::try_parse(id).ok()).unwrap_or_else(Uuid::now_v7).to_string()
}
