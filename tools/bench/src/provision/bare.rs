//! The baseline: a bare loop that applies copies of one instance's objects with the same concurrency and
//! waits until their pods are ready.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::Stack;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use uuid::Uuid;

/// Where instances are.
pub const NAMESPACE: &str = "odoo-instances";

/// A client with the stack's kubeconfig.
pub async fn client(stack: &Stack) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(&stack.kubeconfig)?;
    Ok(Client::try_from(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)?)
}

/// Applies `count` copies of the objects of `model`; the time until all their pods are ready. The copies
/// carry a label of their own and are removed afterwards.
pub async fn throughput(
    cluster: &Client,
    model: &str,
    count: usize,
    concurrency: usize,
) -> anyhow::Result<Duration> {
    let objects = copies_of(cluster, model).await?;
    let start = Instant::now();
    stream::iter(0..count)
        .map(|_| {
            let (cluster, objects) = (cluster.clone(), &objects);
            async move { apply_copy(&cluster, objects, model, &Uuid::now_v7().to_string()).await }
        })
        .buffer_unordered(concurrency)
        .try_collect::<Vec<()>>()
        .await?;
    until_ready(cluster, count).await?;
    let took = start.elapsed();
    remove(cluster).await?;
    Ok(took)
}

/// The objects of one instance as text, without what the cluster added, with labels that no controller of
/// ours follows.
async fn copies_of(cluster: &Client, model: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut objects = Vec::new();
    for kind in
        ["secrets", "persistentvolumeclaims", "services", "networkpolicies", "deployments", "ingresses"]
    {
        let request = kube::api::Request::new(path(kind));
        let request =
            request.list(&ListParams::default().labels(&format!("saasodoo.io/instance-id={model}")))?;
        let list: Value = cluster.request(request).await?;
        let mut object = list["items"][0].clone();
        ensure!(!object.is_null(), "the model has no object of {kind}");
        object["apiVersion"] = json!(api_version(kind));
        object["kind"] = json!(kind_word(kind));
        if let Some(all) = object.as_object_mut() {
            all.remove("status");
        }
        let metadata = object["metadata"].as_object_mut().context("metadata")?;
        metadata.retain(|key, _| matches!(key.as_str(), "name" | "labels" | "annotations"));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            // A claim that says that it is bound already is never bound.
            annotations.retain(|key, _| {
                !key.contains("pv.kubernetes.io/") && !key.contains("volume.") && !key.contains("deployment.")
            });
        }
        // A Secret has no spec, and asking by index would make an empty one.
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            for given in ["clusterIP", "clusterIPs", "volumeName"] {
                spec.remove(given);
            }
        }
        let text = object
            .to_string()
            .replace("\"app\":\"odoo\"", "\"app\":\"bare\"")
            .replace("saasodoo.io/", "bare.example/");
        objects.push((kind, text));
    }
    Ok(objects)
}

async fn apply_copy(
    cluster: &Client,
    objects: &[(&'static str, String)],
    model: &str,
    id: &str,
) -> anyhow::Result<()> {
    let parameters = PatchParams::apply("bare-loop").force();
    for (kind, text) in objects {
        let object: Value = serde_json::from_str(&text.replace(model, id))?;
        let name = object["metadata"]["name"].as_str().context("name")?.to_owned();
        let request =
            kube::api::Request::new(path(kind)).patch(&name, &parameters, &Patch::Apply(&object))?;
        cluster.request::<Value>(request).await.with_context(|| format!("apply {kind}"))?;
    }
    Ok(())
}

async fn until_ready(cluster: &Client, count: usize) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.clone(), NAMESPACE);
    let deadline = Instant::now() + Duration::from_mins(10);
    loop {
        let list = pods.list(&ListParams::default().labels("app=bare")).await?;
        let ready = list.iter().filter(|pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions.is_some_and(|all| {
                all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
            })
        });
        if ready.count() >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the bare loop's pods were not ready in ten minutes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn remove(cluster: &Client) -> anyhow::Result<()> {
    let (delete, ours) = (kube::api::DeleteParams::background(), ListParams::default().labels("app=bare"));
    Api::<Deployment>::namespaced(cluster.clone(), NAMESPACE).delete_collection(&delete, &ours).await?;
    Api::<Ingress>::namespaced(cluster.clone(), NAMESPACE).delete_collection(&delete, &ours).await?;
    Api::<NetworkPolicy>::namespaced(cluster.clone(), NAMESPACE).delete_collection(&delete, &ours).await?;
    Api::<Secret>::namespaced(cluster.clone(), NAMESPACE).delete_collection(&delete, &ours).await?;
    Api::<PersistentVolumeClaim>::namespaced(cluster.clone(), NAMESPACE)
        .delete_collection(&delete, &ours)
        .await?;
    let services: Api<Service> = Api::namespaced(cluster.clone(), NAMESPACE);
    services.delete_collection(&delete, &ours).await?;
    Ok(())
}

fn path(kind: &str) -> String {
    let group = match kind {
        "deployments" => "apis/apps/v1",
        "networkpolicies" | "ingresses" => "apis/networking.k8s.io/v1",
        _ => "api/v1",
    };
    format!("/{group}/namespaces/{NAMESPACE}/{kind}")
}

fn api_version(kind: &str) -> &'static str {
    match kind {
        "deployments" => "apps/v1",
        "networkpolicies" | "ingresses" => "networking.k8s.io/v1",
        _ => "v1",
    }
}

fn kind_word(kind: &str) -> &'static str {
    match kind {
        "deployments" => "Deployment",
        "networkpolicies" => "NetworkPolicy",
        "ingresses" => "Ingress",
        "services" => "Service",
        "persistentvolumeclaims" => "PersistentVolumeClaim",
        _ => "Secret",
    }
}
