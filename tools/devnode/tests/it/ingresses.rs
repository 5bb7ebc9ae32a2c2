//! The Ingress listener: ready pods behind a host, and plain pages where there are none.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use test_kit::eventually;

use crate::harness::{Node, SOON, http};

/// GTW-18
#[tokio::test]
async fn a_site_answers_while_its_pod_is_ready_and_says_so_when_not() {
    let node = Node::start(&[]).await;
    let host = format!("{}.localhost", node.name);
    // A simulated pod answers on the port of its probe.
    let container = json!({
        "name": "web",
        "image": "nginx:1",
        "ports": [{ "name": "http", "containerPort": 8069 }],
        "readinessProbe": { "httpGet": { "path": "/", "port": "http" } },
    });
    node.create::<Deployment>(json!({
        "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": node.placed(json!({ "containers": [container] })) },
        },
    }))
    .await;
    node.create::<Service>(json!({
        "metadata": { "name": "web" },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": "http" }] },
    }))
    .await;
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    node.create::<Ingress>(json!({
        "metadata": { "name": "web" },
        "spec": { "rules": [{ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } }] },
    }))
    .await;

    let status = |wanted: u16| {
        let (host, port) = (host.clone(), node.ingress);
        async move {
            let what = format!("the site answers {wanted}");
            eventually(&what, SOON, || async {
                let answer = http(port, "GET", "/web", &host, "").await;
                (answer.0 == wanted).then_some(answer)
            })
            .await
        }
    };
    let (_, _, body) = status(200).await;
    assert!(body.contains("simulated"));

    let off = json!({ "spec": { "replicas": 0 } });
    node.api::<Deployment>().patch("web", &PatchParams::default(), &Patch::Merge(off)).await.unwrap();

    let (_, head, body) = status(503).await;
    assert!(head.contains("retry-after: 10"), "{head}");
    assert!(body.contains("<h1>Service Unavailable</h1>"), "{body}");
    let unknown = http(node.ingress, "GET", "/", "unknown.localhost", "").await;
    assert_eq!(unknown.0, 404);
}
