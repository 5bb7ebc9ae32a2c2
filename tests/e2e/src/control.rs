//! The switches of the local stack: its supervisor (services and servers) and its node (pods).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::Stack;

async fn post(url: &str, body: Value) -> anyhow::Result<Value> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(2)).build()?;
    let response =
        client.post(url).json(&body).send().await.with_context(|| format!("cannot reach {url}"))?;
    let status = response.status();
    let text = response.text().await?;
    ensure!(status.is_success(), "{url}: {status}: {text}");
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// SIGKILL, and it stays down until [`start_service`].
pub async fn kill_service(stack: &Stack, name: &str) -> anyhow::Result<()> {
    post(&format!("{}/services/{name}/kill", stack.control), json!({})).await.map(drop)
}

/// SIGTERM, and it stays down until [`start_service`].
pub async fn stop_service(stack: &Stack, name: &str) -> anyhow::Result<()> {
    post(&format!("{}/services/{name}/stop", stack.control), json!({})).await.map(drop)
}

/// Starts a service that was stopped, with additions to its environment that hold until its next start.
/// Returns when it is ready. A service that was started with `restart = false` stays down when it ends.
pub async fn start_service(
    stack: &Stack,
    name: &str,
    environment: &[(&str, &str)],
    restart: bool,
) -> anyhow::Result<()> {
    let environment: BTreeMap<_, _> = environment.iter().copied().collect();
    post(&format!("{}/services/{name}/start", stack.control), json!({"env": environment, "restart": restart}))
        .await
        .map(drop)
}

/// Does the service's process live?
pub async fn is_running(stack: &Stack, name: &str) -> anyhow::Result<bool> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
    let body: Value = client
        .get(format!("{}/services/{name}", stack.control))
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    body["running"].as_bool().context("no `running` in the answer")
}

/// Starts a second copy of a service on ports of its own.
pub async fn start_replica(stack: &Stack, name: &str) -> anyhow::Result<()> {
    post(&format!("{}/services/{name}/replica/start", stack.control), json!({})).await.map(drop)
}

/// Stops the second copy.
pub async fn stop_replica(stack: &Stack, name: &str) -> anyhow::Result<()> {
    post(&format!("{}/services/{name}/replica/stop", stack.control), json!({})).await.map(drop)
}

/// Stops one of the servers: postgres, redis, rabbitmq, apiserver.
pub async fn stop_server(stack: &Stack, name: &str) -> anyhow::Result<()> {
    post(&format!("{}/deps/{name}/stop", stack.control), json!({})).await.map(drop)
}

/// Starts it again on the same port and data.
pub async fn start_server(stack: &Stack, name: &str) -> anyhow::Result<()> {
    post(&format!("{}/deps/{name}/start", stack.control), json!({})).await.map(drop)
}

/// Empties every queue of the broker.
pub async fn purge_queues(stack: &Stack) -> anyhow::Result<()> {
    post(&format!("{}/deps/rabbitmq/purge", stack.control), json!({})).await.map(drop)
}

/// Makes the pods of an instance fail on the local node: crash, hang, never_ready, pull_error, slow_start,
/// oom, evict. The id of the fault.
pub async fn break_pods(stack: &Stack, instance: &str, fault: &str) -> anyhow::Result<String> {
    // Long enough for every container that comes meanwhile; a crash without it would fall once.
    let body =
        json!({"selector": format!("saasodoo.io/instance-id={instance}"), "fault": fault, "seconds": 900});
    let answer = post(&format!("{}/faults", stack.devnode), body).await?;
    Ok(answer["id"].as_str().map_or_else(|| answer["id"].to_string(), str::to_owned))
}

/// Takes a fault back.
pub async fn heal_pods(stack: &Stack, fault: &str) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    client.delete(format!("{}/faults/{fault}", stack.devnode)).send().await?.error_for_status()?;
    Ok(())
}
