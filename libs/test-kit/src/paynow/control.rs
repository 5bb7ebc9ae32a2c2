//! The control port: what the customer does, and what goes wrong. For loopback alone.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, HookFaults, Paynow};

pub(super) fn router(paynow: &Paynow) -> Router {
    Router::new()
        .route("/", get(|| async { Json(json!({ "ready": true })) }))
        .route("/transactions", get(transactions))
        .route("/transactions/{reference}", post(decide))
        .route("/faults", post(faults))
        .with_state(paynow.clone())
}

async fn transactions(State(paynow): State<Paynow>) -> Json<Value> {
    Json(
        json!({ "transactions": paynow.transactions(), "refused": paynow.refused(), "calls": paynow.calls() }),
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    status: String,
    amount: Option<String>,
}

async fn decide(
    State(paynow): State<Paynow>,
    Path(reference): Path<String>,
    Json(decision): Json<Decision>,
) -> StatusCode {
    if paynow.decide(&reference, &decision.status, decision.amount.as_deref()) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Faults {
    /// Of its own answers.
    answers: Fault,
    /// Of its results.
    hooks: HookFaults,
}

/// Sets all faults; `{}` ends them.
async fn faults(State(paynow): State<Paynow>, Json(faults): Json<Faults>) -> StatusCode {
    let mut books = paynow.lock();
    books.fault = faults.answers;
    books.hook_faults = faults.hooks;
    StatusCode::NO_CONTENT
}
