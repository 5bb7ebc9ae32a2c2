//! Monitoring on the service's own port (MON-02): without a token from the machine itself, with a service
//! token from elsewhere.
//!
//! `kubectl exec` and `kubectl port-forward` reach the pod by its loopback address; nothing else does.
//! Forwarding headers are not looked at.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use instance::domain::ActorKind;
use runtime::grpc::SERVICE_TOKEN;
use runtime::identity::ServiceKeys;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::app::App;
use crate::app::caller::Caller;
use crate::app::monitor::{self, Command};
use crate::error::Error;

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Pages {
    /// The use cases.
    pub app: App,
    /// Keys of the services.
    pub keys: ServiceKeys,
}

/// The routes beside the health pages.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/api/v1/monitoring/start", post(start))
        .route("/api/v1/monitoring/status", get(status))
        .layer(from_fn_with_state(pages.clone(), guard))
        .with_state(pages)
}

/// Who called, for the audit row.
#[derive(Debug, Clone)]
struct Origin {
    name: String,
    address: IpAddr,
}

async fn guard(
    State(pages): State<Pages>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let address = peer.ip().to_canonical();
    let name = if address.is_loopback() {
        "loopback".to_owned()
    } else {
        match token(request.headers()).and_then(|token| pages.keys.verify(token)) {
            Some(service) => service,
            None => return problem(StatusCode::UNAUTHORIZED, "unauthenticated", "a service token is needed"),
        }
    };
    request.extensions_mut().insert(Origin { name, address });
    next.run(request).await
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let own = headers.get(SERVICE_TOKEN).and_then(|value| value.to_str().ok());
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    own.or_else(|| bearer?.strip_prefix("Bearer "))
}

async fn start(State(pages): State<Pages>, axum::Extension(origin): axum::Extension<Origin>) -> Response {
    let caller = Caller {
        client_ip: origin.address.to_string(),
        ..Caller::service(&origin.name, ActorKind::Platform, "")
    };
    match monitor::set(&pages.app, &caller, Command::Start, "").await {
        Ok((status, changed)) => {
            let message = if changed { "monitoring starts" } else { "monitoring runs already" };
            Json(json!({"status": status, "changed": changed, "message": message})).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn status(State(pages): State<Pages>) -> Response {
    let text = |at: Option<OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok());
    match monitor::read(&pages.app).await {
        Ok(row) => Json(json!({
            "status": monitor::word(row.enabled.unwrap_or(false)),
            "enabled": row.enabled.unwrap_or(false),
            "leader": row.leader,
            "watch_connected": row.watch_connected,
            "last_event_at": text(row.last_event_at),
            "last_relist_at": text(row.last_relist_at),
            "resource_version": row.resource_version,
            "reconnects": row.reconnects,
            "instances_tracked": row.instances_tracked,
            "queue_depth": row.queue_depth,
        }))
        .into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Response {
    tracing::error!(error = format!("{error:#}"), "a monitoring call failed");
    match error {
        Error::Unavailable(_) => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string()),
        _ => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong on our side"),
    }
}

fn problem(status: StatusCode, reason: &str, detail: &str) -> Response {
    let body = json!({
        "type": format!("urn:saasodoo:problem:{reason}"),
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
        "reason": reason,
    });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}
