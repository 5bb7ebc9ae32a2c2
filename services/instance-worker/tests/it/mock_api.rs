//! Errors of the API server, exactly as asked for: nothing follows a failed read.

use std::pin::pin;

use http::{Request, Response};
use instance_worker::cluster::{self, Cluster, Connection, Error, LookAt, Owner};
use instance_worker::objects::service::service;
use instance_worker::objects::{DatabaseAccess, Route, Tenant};
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::Client;
use kube::client::Body;
use tower_test::mock;
use uuid::Uuid;

use crate::stack::settings;

type Handle = mock::Handle<Request<Body>, Response<Body>>;

fn mocked() -> (Cluster, Handle) {
    let (service, handle) = mock::pair::<Request<Body>, Response<Body>>();
    let client = Client::new(service, "default");
    (Cluster::new(Connection::fixed(client), 1000, cluster::Metrics::default()), handle)
}

fn status(code: u16, reason: &str) -> Response<Body> {
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "no", "reason": reason, "code": code});
    Response::builder().status(code).body(Body::from(serde_json::to_vec(&body).unwrap())).unwrap()
}

fn tenant() -> Tenant {
    Tenant {
        id: Uuid::from_u128(1),
        customer_id: Uuid::from_u128(2),
        name: "n".into(),
        plan: "basic-monthly".into(),
        version: "17".into(),
        cpu_millis: 100,
        memory_mib: 512,
        storage_mib: 1024,
        subdomain: "acme".into(),
        demo_data: false,
        database: DatabaseAccess {
            server_id: Uuid::from_u128(3),
            host: "h".into(),
            port: 5432,
            name: "d".into(),
        },
        running: true,
        route: Route::Instance,
        restarted_at: None,
    }
}

/// Answers every request with `code`; the methods that were asked.
async fn answer_all(handle: Handle, code: u16, reason: &'static str) -> Vec<String> {
    let mut handle = pin!(handle);
    let mut methods = Vec::new();
    while let Some((request, send)) = handle.next_request().await {
        methods.push(request.method().to_string());
        send.send_response(status(code, reason));
    }
    methods
}

/// K8S-17
#[tokio::test]
async fn after_a_failed_read_nothing_is_created_or_deleted() {
    for (code, reason) in [(500, "InternalError"), (403, "Forbidden"), (503, "ServiceUnavailable")] {
        let (cluster, handle) = mocked();
        let server = tokio::spawn(answer_all(handle, code, reason));
        let owner = Owner::Instance(Uuid::from_u128(1));
        let applied =
            cluster.apply(&service(&tenant(), &settings("t", "p")), owner, LookAt::Server).await.unwrap_err();
        let deleted = cluster.delete::<Service>("t", "odoo-x", owner, None).await.unwrap_err();
        assert!(!matches!(applied, Error::NotFound(_)) && !matches!(deleted, Error::NotFound(_)));
        drop(cluster);
        let methods = server.await.unwrap();
        assert!(!methods.is_empty() && methods.iter().all(|method| method == "GET"), "{code}: {methods:?}");
    }
}

/// K8S-16: the ownership check comes before the write.
#[tokio::test]
async fn a_foreign_object_gets_no_write() {
    let (cluster, handle) = mocked();
    let server = tokio::spawn(async move {
        let mut handle = pin!(handle);
        let mut methods = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            methods.push(request.method().to_string());
            let body = serde_json::json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "odoo-x", "namespace": "t", "uid": "u"}});
            send.send_response(Response::new(Body::from(serde_json::to_vec(&body).unwrap())));
        }
        methods
    });
    let owner = Owner::Instance(Uuid::from_u128(1));
    let refused =
        cluster.apply(&service(&tenant(), &settings("t", "p")), owner, LookAt::Server).await.unwrap_err();
    assert!(matches!(refused, Error::OwnershipConflict(_)));
    drop(cluster);
    assert_eq!(server.await.unwrap(), ["GET"]);
}

/// A server with a Service that neither a patch nor a replacement can make as wanted. What it would say to a
/// new one of the name is `made`, to a dry run; what was asked, with `?` for a dry run.
async fn stubborn(handle: Handle, made: (u16, &'static str)) -> Vec<String> {
    let mut handle = pin!(handle);
    let mut asked = Vec::new();
    while let Some((request, send)) = handle.next_request().await {
        let dry = request.uri().query().is_some_and(|query| query.contains("dryRun=All"));
        let method = request.method().to_string();
        let gone = asked.iter().any(|asked| asked == "DELETE");
        send.send_response(match method.as_str() {
            "GET" => stored(),
            "PATCH" if gone => stored(),
            "PATCH" | "PUT" => status(422, "Invalid"),
            "POST" => status(made.0, made.1),
            _ => status(200, ""),
        });
        asked.push(if dry { format!("{method}?") } else { method });
    }
    asked
}

fn stored() -> Response<Body> {
    let name = format!("odoo-{}", tenant().id);
    let labels = serde_json::json!({"app": "odoo", "saasodoo.io/instance-id": tenant().id});
    let metadata = serde_json::json!({"name": name, "namespace": "t", "uid": "u", "labels": labels});
    let body = serde_json::json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata,
        "spec": {"clusterIP": "None"}});
    Response::new(Body::from(serde_json::to_vec(&body).unwrap()))
}

/// What can be neither patched nor replaced is deleted and made again, but only when the server would take
/// the new one: an object that validation, a quota or somebody's admission policy refuses must not cost the
/// one that serves.
#[tokio::test]
async fn an_object_that_the_server_would_not_take_never_costs_the_living_one() {
    for (made, costs) in [
        ((422, "Invalid"), false),
        ((403, "Forbidden"), false),
        ((500, "InternalError"), false),
        // The name alone stands in the way.
        ((409, "AlreadyExists"), true),
    ] {
        let (cluster, handle) = mocked();
        let server = tokio::spawn(stubborn(handle, made));
        let owner = Owner::Instance(tenant().id);

        let applied = cluster.apply(&service(&tenant(), &settings("t", "p")), owner, LookAt::Server).await;

        drop(cluster);
        let asked = server.await.unwrap();
        assert!(asked.contains(&"POST?".to_owned()), "{made:?}: {asked:?}");
        assert_eq!(asked.contains(&"DELETE".to_owned()), costs, "{made:?}: {asked:?}");
        assert_eq!(applied.is_ok(), costs, "{made:?}: {applied:?}");
        if !costs {
            assert_eq!(asked.last().map(String::as_str), Some("POST?"), "nothing is written any more");
        }
    }
}

/// K8S-26: a Secret of a pool is made, or made anew; no question is asked whose answer would hold what another
/// one holds.
#[tokio::test]
async fn a_secret_that_may_not_be_read_is_only_ever_made_and_deleted() {
    let (cluster, handle) = mocked();
    let server = tokio::spawn(async move {
        let mut handle = pin!(handle);
        let mut asked = Vec::new();
        while let Some((request, send)) = handle.next_request().await {
            let method = request.method().to_string();
            let there = asked.is_empty();
            send.send_response(match method.as_str() {
                "POST" if there => status(409, "AlreadyExists"),
                "POST" => secret(),
                _ => status(200, ""),
            });
            asked.push(method);
        }
        asked
    });
    let mut wanted = Secret::default();
    wanted.metadata.name = Some("postgres-pool-1".into());
    wanted.metadata.namespace = Some("p".into());

    cluster.write_unseen(&wanted).await.unwrap();

    drop(cluster);
    assert_eq!(server.await.unwrap(), ["POST", "DELETE", "POST"]);
}

fn secret() -> Response<Body> {
    let body =
        serde_json::json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "postgres-pool-1"}});
    Response::new(Body::from(serde_json::to_vec(&body).unwrap()))
}
