//! Health pages (GTW-02): the gateway's own, and one for each service by `grpc.health.v1` with 2 s.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use contracts::billing::v1::GetProviderHealthRequest;
use contracts::database::v1::GetClusterContactRequest;
use contracts::services::GATEWAY;
use http::StatusCode;
use serde_json::{Value, json};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::access::Limit;
use crate::api::Api;
use crate::clients::Part;
use crate::context::Ctx;
use crate::dto::scalars;
use crate::openapi::operation_id;
use crate::state::App;

/// The worker reports each 30 s or so; older than this, it is gone (DBS-14).
const CONTACT_SECONDS: i64 = 120;

/// Adds the routes.
pub fn add(mut api: Api) -> Api {
    let alive = json!({"status": "healthy", "service": "gateway", "version": "0.1.0", "time": "2026-11-23T04:00:00Z"});
    api = page(api, Limit::Exempt, "/health", "Is the gateway alive?", &alive, &get(own));
    for part in Part::ALL {
        let example = json!({"status": "healthy", "service": part.service(), "version": "0.1.0", "time": "2026-11-23T04:00:00Z"});
        let handler = get(move |State(app): State<App>, context: Ctx| async move {
            cached(&app, part.prefix().to_owned(), service(&app, &context, part)).await
        });
        let summary = format!("Does {} answer?", part.service());
        api = page(api, Limit::Health, &format!("/{}/health", part.prefix()), &summary, &example, &handler);
        let example =
            json!({"status": "healthy", "service": part.service(), "database": "connected", "latency_ms": 3});
        let handler = get(move |State(app): State<App>, context: Ctx| async move {
            cached(&app, format!("{}/database", part.prefix()), database(&app, &context, part)).await
        });
        let summary = format!("Does the database of {} answer?", part.service());
        api = page(
            api,
            Limit::Health,
            &format!("/{}/health/database", part.prefix()),
            &summary,
            &example,
            &handler,
        );
    }
    let cluster = json!({"status": "healthy", "kubernetes": "connected", "last_contact": "2026-11-23T04:00:00Z", "source": "instance-worker"});
    api = page(
        api,
        Limit::Health,
        "/database/health/kubernetes",
        "When was Kubernetes last reached?",
        &cluster,
        &get(kubernetes),
    );
    api = page(
        api,
        Limit::Health,
        "/database/health/docker",
        "The old name of `/database/health/kubernetes`.",
        &cluster,
        &get(docker),
    );
    let provider = json!({"status": "healthy", "provider": "ledger"});
    page(
        api,
        Limit::Health,
        "/billing/health/provider",
        "Does the billing provider answer?",
        &provider,
        &get(billing_provider),
    )
}

fn page(
    api: Api,
    limit: Limit,
    path: &str,
    summary: &str,
    example: &Value,
    handler: &axum::routing::MethodRouter<App>,
) -> Api {
    let properties: serde_json::Map<String, Value> =
        example.as_object().into_iter().flatten().map(|(name, _)| (name.clone(), json!({}))).collect();
    let content = json!({"application/json": {"schema": {"type": "object", "properties": properties}, "example": example}});
    let mut ill = example.clone();
    ill["status"] = json!("unhealthy");
    let operation = json!({
        "summary": summary,
        "operationId": operation_id("get", path),
        "responses": {
            "200": {"description": "healthy", "content": content},
            "503": {"description": "unhealthy", "content": {"application/json": {"schema": {"type": "object"}, "example": ill}}},
        },
    });
    api.page(limit, path, &operation, handler)
}

/// The page from the cache, or else from what it is made of.
async fn cached(app: &App, name: String, look: impl Future<Output = (StatusCode, Value)>) -> Response {
    let (status, body) = app.health.get_with(name, look).await;
    (status, Json(body)).into_response()
}

async fn own() -> Response {
    Json(healthy(GATEWAY)).into_response()
}

fn healthy(service: &str) -> Value {
    json!({"status": "healthy", "service": service, "version": env!("CARGO_PKG_VERSION"), "time": scalars::now()})
}

fn unhealthy(body: Value) -> (StatusCode, Value) {
    (StatusCode::SERVICE_UNAVAILABLE, body)
}

/// Does the check of this name pass?
async fn serving(app: &App, context: &Ctx, part: Part, check: &str) -> bool {
    let Some(mut client) = app.clients.health(part) else { return false };
    let request = context.request(HealthCheckRequest { service: check.to_owned() });
    match client.check(request).await {
        Ok(answer) => answer.into_inner().status == i32::from(ServingStatus::Serving),
        Err(status) => {
            tracing::debug!(service = part.service(), code = ?status.code(), "no health");
            false
        }
    }
}

async fn service(app: &App, context: &Ctx, part: Part) -> (StatusCode, Value) {
    if serving(app, context, part, "").await {
        return (StatusCode::OK, healthy(part.service()));
    }
    unhealthy(json!({
        "status": "unhealthy", "service": part.service(), "version": env!("CARGO_PKG_VERSION"), "time": scalars::now(),
    }))
}

async fn database(app: &App, context: &Ctx, part: Part) -> (StatusCode, Value) {
    let start = Instant::now();
    if serving(app, context, part, "database").await {
        let latency = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let body = json!({"status": "healthy", "service": part.service(), "database": "connected", "latency_ms": latency});
        return (StatusCode::OK, body);
    }
    unhealthy(json!({"status": "unhealthy", "service": part.service(), "database": "disconnected"}))
}

async fn kubernetes(State(app): State<App>, context: Ctx) -> Response {
    cached(&app, "kubernetes".to_owned(), cluster(&app, &context, json!({}))).await
}

async fn docker(State(app): State<App>, context: Ctx) -> Response {
    cached(&app, "docker".to_owned(), cluster(&app, &context, json!({"deprecated": true}))).await
}

async fn cluster(app: &App, context: &Ctx, more: Value) -> (StatusCode, Value) {
    let request = context.request(GetClusterContactRequest {});
    let contact = match app.clients.databases_health.clone().get_cluster_contact(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            tracing::warn!(code = ?status.code(), error = status.message(), "no cluster contact");
            contracts::database::v1::GetClusterContactResponse::default()
        }
    };
    let now = runtime::clock::now().unix_timestamp();
    let fresh = contact.last_contact.is_some_and(|at| now - at.seconds <= CONTACT_SECONDS);
    let connected = contact.connected && fresh;
    let mut body = json!({
        "status": if connected { "healthy" } else { "unhealthy" },
        "kubernetes": if connected { "connected" } else { "disconnected" },
        "last_contact": scalars::time(contact.last_contact.as_ref()),
        "source": "instance-worker",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    if connected { (StatusCode::OK, body) } else { unhealthy(body) }
}

async fn billing_provider(State(app): State<App>, context: Ctx) -> Response {
    cached(&app, "provider".to_owned(), provider(&app, &context)).await
}

async fn provider(app: &App, context: &Ctx) -> (StatusCode, Value) {
    let request = context.request(GetProviderHealthRequest {});
    match app.clients.billing_health.clone().get_provider_health(request).await {
        Ok(answer) => {
            let answer = answer.into_inner();
            if answer.healthy {
                (StatusCode::OK, json!({"status": "healthy", "provider": answer.provider}))
            } else {
                unhealthy(json!({"status": "unhealthy", "provider": answer.provider}))
            }
        }
        Err(status) => {
            tracing::warn!(code = ?status.code(), error = status.message(), "no provider health");
            unhealthy(json!({"status": "unhealthy", "provider": null}))
        }
    }
}
