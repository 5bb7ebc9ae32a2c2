//! Pods that fail on the node: the status tells it within two minutes, in words that a customer understands
//! (K8S-22).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack, control};
use serde_json::Value;
use test_kit::eventually;

const TOLD: Duration = Duration::from_mins(2);

/// Breaks a running instance, waits for `error` with this reason, heals it, waits for `running`.
async fn status_tells(fault: &str, reason: &str) -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, &fault.replace('_', "-")).await?;
    let instance = ada.create_running("Broken").await?;
    let id = instance["id"].as_str().context("id")?.to_owned();
    let broken = control::break_pods(&stack, &id, fault).await?;
    if fault == "pull_error" {
        // This fault meets a container at its start.
        ada.act(&id, "restart").await?.expect(202)?;
    }
    let seen = eventually(&format!("the status tells {fault}"), TOLD, || async {
        let body = ada.instance(&id).await.ok()?;
        (body["status"] == "error").then_some(body)
    })
    .await;
    control::heal_pods(&stack, &broken).await?;
    ensure!(seen["error"]["reason"] == reason, "{seen}");
    ensure!(seen["error"]["message"].as_str().is_some_and(|message| message.len() > 10), "{seen}");
    // A restart that failed stands among the operations; what befell a running instance stands in its
    // timeline.
    if fault != "pull_error" {
        let told = timeline(&ada, &id).await?;
        ensure!(told.iter().any(|event| event == reason), "{told:?}");
    }

    // The pod recovers by itself or by the owner's restart.
    if ada.instance(&id).await?["status"] == "error" {
        let _ = ada.act(&id, "restart").await?;
    }
    eventually("running again", Duration::from_mins(3), || async {
        (ada.instance(&id).await.ok()?["status"] == "running").then_some(())
    })
    .await;
    Ok(())
}

/// The kinds of what the owner reads of the instance.
async fn timeline(ada: &Customer, id: &str) -> anyhow::Result<Vec<Value>> {
    let events = ada.get(&format!("/instance/instances/{id}/events")).await?.expect(200)?;
    let events = events["events"].as_array().context("events")?;
    Ok(events.iter().map(|event| event["type"].clone()).collect())
}

/// K8S-22
#[tokio::test]
async fn a_crash_loop_is_told() -> anyhow::Result<()> {
    status_tells("crash", "crash_loop").await
}

/// K8S-22
#[tokio::test]
async fn an_image_that_cannot_be_pulled_is_told() -> anyhow::Result<()> {
    status_tells("pull_error", "image_unavailable").await
}

/// K8S-22: a running instance stops answering.
#[tokio::test]
async fn a_pod_that_loses_its_readiness_is_told() -> anyhow::Result<()> {
    status_tells("never_ready", "not_ready").await
}

/// K8S-09, K8S-22: a pod that is not ready after its start may still be in its first boot, so the instance
/// waits, and its status says for what.
#[tokio::test]
async fn a_pod_that_never_gets_ready_is_told() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "never-ready").await?;
    let instance = ada.create_running("Slow").await?;
    let id = instance["id"].as_str().context("id")?.to_owned();
    let broken = control::break_pods(&stack, &id, "never_ready").await?;
    ada.act(&id, "restart").await?.expect(202)?;

    let seen = eventually("the status tells what it waits for", TOLD, || async {
        let body = ada.get(&format!("/instance/instances/{id}/status")).await.ok()?.expect(200).ok()?;
        let observed = &body["observed"];
        (observed["ready"] == false && observed["reason"].as_str().is_some_and(|reason| !reason.is_empty()))
            .then_some(body)
    })
    .await;
    control::heal_pods(&stack, &broken).await?;

    ensure!(seen["status"] == "restarting", "{seen}");
    ada.until(&id, "running").await?;
    Ok(())
}
