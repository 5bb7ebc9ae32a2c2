//! The Node object and its heartbeats.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeSpec, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::config::Config;
use crate::context::Shared;
use crate::status::HOST_IP;

const LEASE_NAMESPACE: &str = "kube-node-lease";
/// How soon a heartbeat that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the whole status is written; the Lease is the usual sign of life.
const STATUS_EVERY: Duration = Duration::from_mins(5);

/// Makes the Node, or takes over the one of an earlier run, and says that it is ready.
pub async fn register(client: &Client, config: &Config, kubelet_port: u16) -> anyhow::Result<Node> {
    let nodes: Api<Node> = Api::all(client.clone());
    match nodes.create(&PostParams::default(), &node(config)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            let labels = json!({ "metadata": { "labels": node(config).metadata.labels } });
            nodes.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(labels)).await?;
        }
        Err(error) => return Err(error).context("cannot make the Node"),
    }
    let status = json!({ "status": status(config, kubelet_port, Timestamp::now()) });
    nodes
        .patch_status(&config.node_name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .context("cannot write the status of the Node")
}

/// Shows signs of life without end, unless the node is cut off.
pub async fn heartbeat(context: Shared, node: Node, kubelet_port: u16) {
    let config = &context.config;
    let nodes: Api<Node> = Api::all(context.client.clone());
    let mut lost = context.faults.node_lost();
    let mut last_status = tokio::time::Instant::now();
    let mut was_lost = false;
    loop {
        if *lost.borrow_and_update() {
            was_lost = true;
            if lost.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut result = renew(&context.client, config, &node).await;
        // After an absence the controllers have marked the Node; only a new status takes that back.
        if result.is_ok() && (was_lost || last_status.elapsed() > STATUS_EVERY) {
            let status = json!({ "status": status(config, kubelet_port, Timestamp::now()) });
            let name = &config.node_name;
            result = nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.map(drop);
        }
        let wait = match result {
            Ok(()) => {
                if was_lost || last_status.elapsed() > STATUS_EVERY {
                    last_status = tokio::time::Instant::now();
                }
                was_lost = false;
                config.heartbeat
            }
            Err(error) => {
                tracing::warn!(%error, "heartbeat failed");
                // The outage may have been long enough for the Node to count as lost.
                was_lost = true;
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = lost.changed() => {}
        }
    }
}

/// Deletes the Node and the pods bound to it.
pub async fn unregister(client: &Client, config: &Config) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::all(client.clone());
    let bound = ListParams::default().fields(&format!("spec.nodeName={}", config.node_name));
    for pod in pods.list(&bound).await? {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        let _ = api.delete(&pod.name_any(), &now).await;
    }
    let nodes: Api<Node> = Api::all(client.clone());
    nodes.delete(&config.node_name, &DeleteParams::default()).await.context("cannot delete the Node")?;
    Ok(())
}

async fn renew(client: &Client, config: &Config, node: &Node) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
    let now = MicroTime(Timestamp::now());
    let change = json!({ "spec": { "renewTime": now, "holderIdentity": config.node_name } });
    match leases.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(change)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            leases.create(&PostParams::default(), &lease(config, node, now)).await.map(drop)
        }
        result => result.map(drop),
    }
}

fn lease(config: &Config, node: &Node, now: MicroTime) -> Lease {
    Lease {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            namespace: Some(LEASE_NAMESPACE.to_owned()),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: config.node_name.clone(),
                uid: node.uid().unwrap_or_default(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(config.node_name.clone()),
            lease_duration_seconds: Some(40),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}

fn node(config: &Config) -> Node {
    let usual = [
        ("kubernetes.io/hostname", config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", std::env::consts::ARCH),
        ("saasodoo.io/devnode", "true"),
    ];
    let labels = usual
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .chain(config.node_labels.iter().cloned())
        .collect();
    let taints = config.node_taints.iter().map(|(key, value)| Taint {
        key: key.clone(),
        value: Some(value.clone()),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    });
    let taints: Vec<Taint> = taints.collect();
    Node {
        metadata: ObjectMeta {
            name: Some(config.node_name.clone()),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..NodeSpec::default() }),
        ..Node::default()
    }
}

/// The status, as JSON: the field `declaredFeatures` is younger than the typed objects of the oldest
/// supported cluster.
fn status(config: &Config, kubelet_port: u16, now: Timestamp) -> Value {
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let resources = json!({
        "cpu": config.cpu,
        "memory": config.memory,
        "pods": config.max_pods,
        "ephemeral-storage": config.ephemeral_storage,
    });
    let condition = |kind: &str, holds: bool, reason: &str| {
        json!({
            "type": kind,
            "status": if holds { "True" } else { "False" },
            "reason": reason,
            "message": reason,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        })
    };
    json!({
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            { "type": "InternalIP", "address": HOST_IP },
            { "type": "Hostname", "address": config.node_name },
        ],
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID"),
            condition("Ready", true, "KubeletReady"),
        ],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet_port } },
        "declaredFeatures": ["ExtendWebSocketsToKubelet"],
        "nodeInfo": {
            "architecture": std::env::consts::ARCH,
            "operatingSystem": "linux",
            "osImage": "host processes",
            "kernelVersion": "",
            "bootID": "",
            "machineID": "",
            "systemUUID": "",
            "containerRuntimeVersion": concat!("devnode://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": "v1.37.2",
            "kubeProxyVersion": "",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn the_status_has_what_logs_and_exec_need() {
        let config = Config::parse_from(["devnode", "--kubeconfig=k", "--data-dir=d", "--cpu=7"]);

        let status = status(&config, 4711, Timestamp::UNIX_EPOCH);

        assert_eq!(status["daemonEndpoints"]["kubeletEndpoint"]["Port"], 4711);
        assert_eq!(status["addresses"][0]["address"], "127.0.0.1");
        assert_eq!(status["declaredFeatures"][0], "ExtendWebSocketsToKubelet");
        assert_eq!(status["capacity"]["cpu"], "7");
        assert_eq!(status["conditions"][0]["lastHeartbeatTime"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn own_labels_and_taints_are_on_the_node() {
        let config = Config::parse_from([
            "devnode",
            "--kubeconfig=k",
            "--data-dir=d",
            "--node-label=pool=test",
            "--node-taint=only=test",
        ]);

        let node = node(&config);

        assert_eq!(node.labels()["pool"], "test");
        assert_eq!(node.spec.unwrap().taints.unwrap()[0].effect, "NoSchedule");
    }
}
