//! The fault switch: a small HTTP API on loopback for tests and for people.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use kube::ResourceExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Fault, Kind, Target};
use crate::context::Shared;
use crate::pods::registry::Entry;
use crate::status::{RestartPolicy, phase};

/// The routes. `ingress`: the port of the Ingress listener, for whoever knows this switch alone.
pub fn router(context: Shared, ingress: u16) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/faults", get(list).post(add).delete(remove_all))
        .route("/faults/{id}", delete(remove))
        .route("/node", post(set_node).get(node))
        .route("/pods", get(pods))
        .route("/ingress", get(move || async move { Json(json!({ "port": ingress })) }))
        .with_state(context)
}

/// The wish for a fault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// `key=value,…`, `namespace/name` or `name`; a name stands for the pods of its workload as well.
    selector: String,
    fault: Kind,
    namespace: Option<String>,
    container: Option<String>,
    /// How long it lasts.
    seconds: Option<f64>,
    /// How often a blow falls.
    count: Option<u32>,
    /// Exit code that a crash reports.
    exit_code: Option<i32>,
    /// How late a slow start is.
    delay_seconds: Option<f64>,
}

async fn add(State(context): State<Shared>, Json(wish): Json<Wish>) -> Response {
    let (namespace, target) = match Target::parse(&wish.selector) {
        Ok(parsed) => parsed,
        Err(error) => return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    };
    let mut fault = Fault {
        id: 0,
        kind: wish.fault,
        target,
        namespace: wish.namespace.or(namespace),
        container: wish.container,
        left: wish.count,
        once: None,
        until: wish.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds.max(0.0))),
        exit_code: wish.exit_code.unwrap_or(137),
        delay: Duration::from_secs_f64(wish.delay_seconds.unwrap_or(30.0).max(0.0)),
    };
    let pods = context.pods.all();
    let hit = pods.iter().filter(|entry| fault.hits(&entry.pod(), "")).count();
    // A blow without a number falls once on each pod that is there, or on the first one to come.
    if fault.kind.is_blow() && fault.left.is_none() && fault.until.is_none() {
        fault.left = Some(u32::try_from(hit.max(1)).unwrap_or(u32::MAX));
        fault.once = Some(HashSet::new());
    }
    let id = context.faults.add(fault);
    tracing::info!(id, selector = wish.selector, kind = ?wish.fault, pods = hit, "fault added");
    (StatusCode::CREATED, Json(json!({ "id": id, "pods": hit }))).into_response()
}

async fn list(State(context): State<Shared>) -> Json<Value> {
    let now = Instant::now();
    let faults: Vec<Value> = context
        .faults
        .list()
        .into_iter()
        .map(|fault| {
            json!({
                "id": fault.id,
                "fault": fault.kind,
                "target": format!("{:?}", fault.target),
                "namespace": fault.namespace,
                "count_left": fault.left,
                "seconds_left": fault.until.map(|until| (until - now).as_secs_f64()),
            })
        })
        .collect();
    Json(json!({ "faults": faults, "node_lost": *context.faults.node_lost().borrow() }))
}

/// A fault that is over has gone by itself: taking it back twice is no mistake.
async fn remove(State(context): State<Shared>, Path(id): Path<u64>) -> Json<Value> {
    Json(json!({ "removed": context.faults.remove(Some(id)) }))
}

async fn remove_all(State(context): State<Shared>) -> Json<Value> {
    Json(json!({ "removed": context.faults.remove(None) }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Link {
    Lost,
    Back,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeWish {
    state: Link,
}

async fn set_node(State(context): State<Shared>, Json(wish): Json<NodeWish>) -> Json<Value> {
    context.faults.set_node_lost(wish.state == Link::Lost);
    tracing::info!(state = ?wish.state, "link of the node changed");
    node(State(context)).await
}

async fn node(State(context): State<Shared>) -> Json<Value> {
    let state = if *context.faults.node_lost().borrow() { "lost" } else { "back" };
    Json(json!({ "name": context.config.node_name, "state": state }))
}

async fn pods(State(context): State<Shared>) -> Json<Value> {
    let mut all = context.pods.all();
    all.sort_by_key(|entry| crate::pods::registry::key_of(&entry.pod()));
    Json(json!({ "pods": all.iter().map(|entry| describe(entry)).collect::<Vec<_>>() }))
}

fn describe(entry: &Entry) -> Value {
    let pod = entry.pod();
    let state = entry.state();
    let containers = state.init.iter().chain(&state.main).map(|container| {
        json!({
            "name": container.name,
            "image": container.image,
            "phase": format!("{:?}", container.phase),
            "ready": container.ready,
            "restarts": container.restarts,
        })
    });
    json!({
        "namespace": pod.namespace(),
        "name": pod.name_any(),
        "ip": entry.ip,
        "phase": phase(&state, RestartPolicy::of(&pod)),
        "ready": entry.is_ready(),
        "ending": pod.metadata.deletion_timestamp.is_some(),
        "containers": containers.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_as_documented_and_typing_errors_refused() {
        let wish: Wish =
            serde_json::from_value(json!({ "selector": "app=odoo", "fault": "never_ready", "seconds": 5 }))
                .unwrap();
        assert_eq!(wish.fault, Kind::NeverReady);
        assert_eq!(wish.seconds, Some(5.0));

        assert!(
            serde_json::from_value::<Wish>(json!({ "selector": "a", "fault": "crash", "counts": 2 }))
                .is_err()
        );
    }
}
