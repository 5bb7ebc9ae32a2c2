//! Errors of the API server, exactly as asked for: nothing follows a failed read.

use std::pin::pin;

use http::{Request, Response};
use instance_worker::cluster::{self, Cluster, Connection, Error, LookAt, Owner};
use instance_worker::objects::service::service;
use instance_worker::objects::{DatabaseAccess, Tenant};
use k8s_openapi::api::core::v1::Service;
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
        routed: true,
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
