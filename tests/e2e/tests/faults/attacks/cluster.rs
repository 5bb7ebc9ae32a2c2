//! The account of the worker, in the hands of somebody else.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use e2e::Stack;
use e2e::databases::NAMESPACE;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const WORKER: &str = "system:serviceaccount:saasodoo:instance-worker-sa";

/// kubectl as the worker; nothing is kept (`--dry-run=server`).
async fn tries(stack: &Stack, arguments: &[&str], object: Option<&Value>) -> anyhow::Result<(bool, String)> {
    let mut child = Command::new(&stack.kubectl)
        .args(["--as", WORKER])
        .args(arguments)
        .env("KUBECONFIG", &stack.kubeconfig)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    if let Some(object) = object {
        input.write_all(object.to_string().as_bytes()).await?;
    }
    drop(input);
    let output = child.wait_with_output().await?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// A StatefulSet that carries the name and labels of a pool, and this pod.
fn pool(name: &str, pod: &Value) -> Value {
    let labels = json!({"saasodoo.io/pool": name, "app.kubernetes.io/name": "postgres-pool"});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"replicas": 0, "serviceName": name, "selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": pod}},
    })
}

/// K8S-26: by the name of a pool the worker's account gets at no Secret of the platform, and at none
/// directly.
#[tokio::test]
async fn the_workers_account_reads_no_secret_of_the_platform() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let create = ["create", "--dry-run=server", "-f", "-"];
    let container = |more: Value| {
        let mut container = json!({"name": "postgres", "image": "docker.io/library/postgres:15"});
        if let (Some(fields), Some(more)) = (container.as_object_mut(), more.as_object()) {
            fields.extend(more.clone());
        }
        container
    };
    let pods = [
        json!({"serviceAccountName": "instance-worker-sa", "containers": [container(json!({}))]}),
        json!({"automountServiceAccountToken": false,
               "containers": [container(json!({"envFrom": [{"secretRef": {"name": "jwt-secret"}}]}))]}),
        json!({"automountServiceAccountToken": false,
               "containers": [container(json!({"env": [{"name": "X", "valueFrom":
                   {"secretKeyRef": {"name": "jwt-secret", "key": "key"}}}]}))]}),
        json!({"automountServiceAccountToken": false, "containers": [container(json!({}))],
               "volumes": [{"name": "x", "secret": {"secretName": "jwt-secret"}}]}),
        json!({"automountServiceAccountToken": false,
               "containers": [container(json!({"image": "evil.example/shell:1"}))]}),
    ];
    for pod in &pods {
        let (created, said) = tries(&stack, &create, Some(&pool("postgres-pool-evil", pod))).await?;
        ensure!(!created, "it was allowed: {pod}");
        ensure!(said.contains("forbidden") || said.contains("denied"), "refused for another reason: {said}");
    }
    for arguments in [
        vec!["get", "secrets", "-n", NAMESPACE],
        vec!["get", "secret", "jwt-secret", "-n", NAMESPACE],
        vec!["patch", "secret", "jwt-secret", "-n", NAMESPACE, "--dry-run=server", "-p", "{}"],
    ] {
        let (allowed, said) = tries(&stack, &arguments, None).await?;
        ensure!(!allowed, "{arguments:?} was allowed: {said}");
    }
    Ok(())
}
