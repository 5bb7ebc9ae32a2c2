//! Memory of the services, and what an unchanged cluster costs the API server in writes.

use std::time::Duration;

use anyhow::Context as _;
use e2e::Stack;
use kube::Client;
use serde_json::Value;

use crate::figures::Figures;

/// Kinds that only the worker writes in a steady state (the cluster's own controllers write pods, leases,
/// events and status).
const KINDS: [&str; 7] = [
    "secrets",
    "persistentvolumeclaims",
    "services",
    "networkpolicies",
    "deployments",
    "ingresses",
    "statefulsets",
];

/// Resident memory of each service now.
pub async fn memory(stack: &Stack, when: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let parts: Value = client.get(&stack.control).send().await?.json().await?;
    for name in stack.services.keys() {
        let pid = parts[name]["pid"].as_u64().with_context(|| format!("no process of {name}"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kib = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
        });
        figures.add(
            format!("memory of {name}, {when}"),
            kib.context("no VmRSS")? / 1024.0,
            "MiB",
            (when == "idle").then_some("≤ 40"),
        );
    }
    Ok(())
}

/// Writes to tenants' and pools' objects per minute while nothing changes.
pub async fn writes(cluster: &Client, duration: Duration, figures: &mut Figures) -> anyhow::Result<()> {
    let before = count(cluster).await?;
    tokio::time::sleep(duration).await;
    let after = count(cluster).await?;
    figures.add(
        "API writes with unchanged instances",
        (after - before) / duration.as_secs_f64() * 60.0,
        "1/min",
        Some("0"),
    );
    Ok(())
}

/// Writing requests to [`KINDS`] since the API server started, without those to subresources.
async fn count(cluster: &Client) -> anyhow::Result<f64> {
    let text = cluster.request_text(http::Request::get("/metrics").body(Vec::new())?).await?;
    let mut sum = 0.0;
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let label = |name: &str| {
            line.split(&format!("{name}=\""))
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .unwrap_or_default()
        };
        let writes =
            matches!(label("verb"), "APPLY" | "PATCH" | "PUT" | "POST" | "UPDATE" | "CREATE" | "DELETE");
        if writes && label("subresource").is_empty() && KINDS.contains(&label("resource")) {
            sum += line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
        }
    }
    Ok(sum)
}
