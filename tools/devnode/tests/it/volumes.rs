//! Claims, and volumes made of Secrets, ConfigMaps and fields of the pod.

use std::os::unix::fs::PermissionsExt as _;

use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use test_kit::eventually;

use crate::harness::{Node, SOON};

#[tokio::test]
async fn a_claim_is_bound_and_grows() {
    let node = Node::start(&[]).await;
    node.create::<PersistentVolumeClaim>(json!({
        "metadata": { "name": "data" },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": node.name,
            "resources": { "requests": { "storage": "1Gi" } },
        },
    }))
    .await;
    let claims = node.api::<PersistentVolumeClaim>();
    let size = || async {
        let status = claims.get("data").await.ok()?.status?;
        (status.phase.as_deref() == Some("Bound")).then_some(())?;
        status.capacity?.remove("storage").map(|size| size.0)
    };
    assert_eq!(eventually("the claim is bound", SOON, size).await, "1Gi");

    let larger = json!({ "spec": { "resources": { "requests": { "storage": "3Gi" } } } });
    claims.patch("data", &PatchParams::default(), &Patch::Merge(larger)).await.unwrap();

    eventually("the claim is larger", SOON, || async { (size().await? == "3Gi").then_some(()) }).await;
}

#[tokio::test]
async fn a_pod_sees_its_configuration_as_files_and_variables() {
    let node = Node::start(&[]).await;
    node.create::<Secret>(json!({ "metadata": { "name": "s" }, "stringData": { "key": "from secret" } }))
        .await;
    node.create::<ConfigMap>(json!({ "metadata": { "name": "m" }, "data": { "a": "from map" } })).await;
    let script = "cat /etc/s/key; echo; cat /etc/all/sub/a; echo; cat /etc/all/name; echo; echo $SECRET; echo $BOTH; echo x > /tmp/scratch-dir/x; sleep 60";
    let container = json!({
        "name": "main",
        "image": "saasodoo/tools:1",
        "command": ["sh", "-c", script],
        "env": [
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "s", "key": "key" } } },
            { "name": "BOTH", "value": "$(SECRET) at $(IP)" },
            { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        ],
        "volumeMounts": [
            { "name": "s", "mountPath": "/etc/s" },
            { "name": "all", "mountPath": "/etc/all" },
            { "name": "scratch", "mountPath": "/tmp/scratch-dir" },
        ],
    });
    let volumes = json!([
        { "name": "s", "secret": { "secretName": "s", "defaultMode": 0o400 } },
        { "name": "scratch", "emptyDir": {} },
        { "name": "all", "projected": { "sources": [
            { "configMap": { "name": "m", "items": [{ "key": "a", "path": "sub/a" }] } },
            { "downwardAPI": { "items": [{ "path": "name", "fieldRef": { "fieldPath": "metadata.name" } }] } },
        ] } },
    ]);
    node.pod("conf", json!({ "containers": [container], "volumes": volumes })).await;
    let uid = node.ready("conf").await.metadata.uid.unwrap();

    let seen = eventually("the output is complete", SOON, || async {
        let output = node.output(&["logs", "conf"]).await;
        (output.lines().count() >= 5).then_some(output)
    })
    .await;

    assert_eq!(seen, "from secret\nfrom map\nconf\nfrom secret\nfrom secret at $(IP)\n");
    let secret = node.dir().join("pods").join(uid).join("volumes/s/key");
    assert_eq!(std::fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o400);
}

#[tokio::test]
async fn a_pod_waits_for_a_secret_that_comes_later() {
    let node = Node::start(&[]).await;
    let container = json!({
        "name": "main",
        "image": "saasodoo/tools:1",
        "command": ["sleep", "60"],
        "envFrom": [{ "secretRef": { "name": "late" } }],
    });
    node.pod("late", json!({ "containers": [container] })).await;
    node.pod_is("late", "says what is missing", |pod| {
        (crate::harness::waiting_reason(pod)? == "CreateContainerConfigError").then_some(())
    })
    .await;

    node.create::<Secret>(json!({ "metadata": { "name": "late" }, "stringData": { "a": "b" } })).await;

    node.ready("late").await;
}

/// As a kubelet does, though sooner.
#[tokio::test]
async fn a_running_pod_sees_a_changed_secret_in_its_files() {
    let node = Node::start(&[]).await;
    node.create::<Secret>(json!({ "metadata": { "name": "s" }, "stringData": { "key": "first" } })).await;
    let container = json!({
        "name": "main",
        "image": "saasodoo/tools:1",
        "command": ["sh", "-c", "while true; do cat /etc/s/key; echo; sleep 0.2; done"],
        "volumeMounts": [{ "name": "s", "mountPath": "/etc/s" }],
    });
    let volumes = json!([{ "name": "s", "secret": { "secretName": "s" } }]);
    node.pod("reader", json!({ "containers": [container], "volumes": volumes })).await;
    node.ready("reader").await;
    let last = || async { node.output(&["logs", "reader", "--tail=1"]).await };
    eventually("the pod reads it", SOON, || async { (last().await == "first\n").then_some(()) }).await;

    let changed = json!({ "stringData": { "key": "second" } });
    node.api::<Secret>().patch("s", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();

    eventually("the pod reads the new one", SOON, || async { (last().await == "second\n").then_some(()) })
        .await;
}
