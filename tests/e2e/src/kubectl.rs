//! What an operator sees with kubectl.

use std::process::Output;

use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::Stack;

/// Namespace of the tenants.
pub const TENANTS: &str = "odoo-instances";
/// The kinds of objects that one instance has while it runs.
pub const KINDS: [&str; 6] =
    ["deployments", "services", "ingresses", "persistentvolumeclaims", "secrets", "networkpolicies"];

/// Runs kubectl; its output when it succeeded.
pub async fn run(stack: &Stack, arguments: &[&str]) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = Command::new(&stack.kubectl)
        .args(arguments)
        .env("KUBECONFIG", &stack.kubeconfig)
        .output()
        .await
        .context("cannot run kubectl")?;
    if !status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&stderr).trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// The objects of one kind of an instance.
pub async fn objects(stack: &Stack, kind: &str, instance: &str) -> anyhow::Result<Vec<Value>> {
    let selector = format!("saasodoo.io/instance-id={instance}");
    let text = run(stack, &["get", kind, "-n", TENANTS, "-l", &selector, "-o", "json"]).await?;
    let list: Value = serde_json::from_str(&text)?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

/// Number of objects of each of [`KINDS`].
pub async fn counts(stack: &Stack, instance: &str) -> anyhow::Result<Vec<(&'static str, usize)>> {
    let mut counts = Vec::new();
    for kind in KINDS {
        counts.push((kind, objects(stack, kind, instance).await?.len()));
    }
    Ok(counts)
}

/// The uids of the pods of an instance.
pub async fn pod_uids(stack: &Stack, instance: &str) -> anyhow::Result<Vec<String>> {
    let pods = objects(stack, "pods", instance).await?;
    Ok(pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect())
}
