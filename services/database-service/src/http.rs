//! Pages of the own HTTP port beside those of every service: `/health/kubernetes` and its old name
//! `/health/docker` (DBS-14, DBS-15).

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::app::App;

/// The routes.
pub fn router(app: &App) -> Router {
    Router::new()
        .route("/health/kubernetes", get(kubernetes))
        .route("/health/docker", get(docker))
        .with_state(app.clone())
}

async fn kubernetes(State(app): State<App>) -> Response {
    let (code, body) = contact(&app).await;
    (code, Json(body)).into_response()
}

async fn docker(State(app): State<App>) -> Response {
    let (code, mut body) = contact(&app).await;
    body["deprecated"] = json!(true);
    (code, Json(body)).into_response()
}

async fn contact(app: &App) -> (StatusCode, Value) {
    let (last, connected) = match app.last_contact().await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::warn!(error = %error, "last contact could not be read");
            (None, false)
        }
    };
    let (code, status, kubernetes) = if connected {
        (StatusCode::OK, "healthy", "connected")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "disconnected")
    };
    let last_contact = last.and_then(|at| at.format(&Rfc3339).ok());
    let body = json!({"status": status, "kubernetes": kubernetes, "last_contact": last_contact, "source": contracts::services::WORKER});
    (code, body)
}
