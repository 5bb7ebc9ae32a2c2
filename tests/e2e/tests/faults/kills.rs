//! The worker dies after each step of each operation, after the effect and before the record. Another start must end the operation as
//! wanted, with exactly one of each object and one mail of each kind.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack, control, kubectl, mail};
use serde_json::json;
use test_kit::eventually;

const WORKER: &str = "instance-worker";

/// Runs one operation while the worker dies after `step`, then starts a whole worker and checks the outcome.
async fn die_after(kind: &str, step: &str) -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, &format!("kill-{kind}-{step}")).await?;
    let prepared = if kind == "create" { None } else { Some(ada.create_running("Killed").await?) };
    if kind == "unsuspend" {
        let id = prepared.as_ref().and_then(|body| body["id"].as_str()).context("id")?;
        hold(&stack, id, "suspend").await?;
        ada.until(id, "suspended").await?;
    }
    if kind == "undelete" {
        let body = prepared.as_ref().context("instance")?;
        let id = body["id"].as_str().context("id")?;
        let path = format!("/instance/instances/{id}/terminate");
        ada.post(&path, json!({"confirm": body["subdomain"]})).await?.expect(202)?;
        ada.until(id, "terminated").await?;
    }
    if kind == "start" {
        let id = prepared.as_ref().and_then(|body| body["id"].as_str()).context("id")?;
        ada.act(id, "stop").await?.expect(202)?;
        ada.until(id, "stopped").await?;
    }

    control::stop_service(&stack, WORKER).await?;
    let outcome = run(&stack, &ada, kind, step, prepared.as_ref()).await;
    // Whatever happened, the stack gets a whole worker back.
    control::stop_service(&stack, WORKER).await?;
    control::start_service(&stack, WORKER, &[], true).await?;
    let id = outcome?;

    finish(&stack, &ada, kind, &id).await
}

/// Starts the worker with the fail point, asks for the operation, waits for the worker's death. The instance's id.
async fn run(
    stack: &Stack,
    ada: &Customer,
    kind: &str,
    step: &str,
    prepared: Option<&serde_json::Value>,
) -> anyhow::Result<String> {
    let point = format!("{kind}.{step}");
    control::start_service(stack, WORKER, &[("WORKER_FAIL_POINT", point.as_str())], false).await?;
    let id = match prepared {
        None => ada.create("Killed").await?,
        Some(body) => body["id"].as_str().context("id")?.to_owned(),
    };
    match kind {
        "create" => {}
        "terminate" => {
            let confirm = prepared.context("instance")?["subdomain"].clone();
            ada.post(&format!("/instance/instances/{id}/terminate"), json!({"confirm": confirm}))
                .await?
                .expect(202)?;
        }
        "suspend" | "unsuspend" => hold(stack, &id, kind).await?,
        // As after the change of a plan.
        "apply_resources" => {
            let limits = json!({"cpu_limit": 0.5});
            let path = format!("/instance/instances/{id}");
            ada.send(reqwest::Method::PATCH, &path, Some(limits)).await?.expect(202)?;
        }
        // By the owner, with a new subscription.
        "undelete" => {
            let path = format!("/billing/api/billing/instances/{id}/reactivate");
            ada.post(&path, json!({"plan_name": "basic-monthly"})).await?.expect(202)?;
        }
        action => {
            ada.act(&id, action).await?.expect(202)?;
        }
    }
    eventually(&format!("the worker's death at {point}"), Duration::from_mins(1), || async {
        let alive = control::is_running(stack, WORKER).await.ok()?;
        (!alive).then_some(())
    })
    .await;
    Ok(id)
}

/// An administrator's suspension and its end: the same operation as billing's.
async fn hold(stack: &Stack, id: &str, action: &str) -> anyhow::Result<()> {
    let admin = Customer::admin(stack).await?;
    let path = format!("/instance/instances/{id}/{action}");
    admin.post(&path, json!({"reason": "a test of deaths"})).await?.expect(202).map(drop)
}

async fn finish(stack: &Stack, ada: &Customer, kind: &str, id: &str) -> anyhow::Result<()> {
    let wanted = match kind {
        "stop" => "stopped",
        "suspend" => "suspended",
        "terminate" => "terminated",
        _ => "running",
    };
    ada.until(id, wanted).await?;
    let pods = kubectl::objects(stack, "pods", id).await?.len();
    ensure!(pods == usize::from(wanted == "running"), "{pods} pods when {wanted}");
    for (object, count) in kubectl::counts(stack, id).await? {
        ensure!(count <= 1, "{count} {object}");
        ensure!(count == 1 || wanted == "terminated", "no {object} when {wanted}");
    }
    let operations = ada.get(&format!("/instance/instances/{id}/operations")).await?.expect(200)?;
    let of_kind: Vec<_> = operations["operations"]
        .as_array()
        .context("list")?
        .iter()
        .filter(|operation| operation["kind"] == kind)
        .collect();
    ensure!(of_kind.len() == 1 && of_kind[0]["state"] == "succeeded", "{of_kind:?}");
    if kind == "create" {
        let ready = eventually("the ready mail", Duration::from_mins(1), || async {
            let subjects = mail::subjects(stack, &ada.email).await;
            let ready = subjects.iter().filter(|subject| subject.to_lowercase().contains("ready")).count();
            (ready > 0).then_some(ready)
        })
        .await;
        ensure!(ready == 1, "{ready} ready mails");
    }
    Ok(())
}

/// One test for each step of an operation.
macro_rules! dies_after {
    ($($kind:ident: $($step:ident)+;)+) => {
        $(mod $kind {
            $(
                /// REL-01, K8S-18
                #[tokio::test]
                async fn $step() -> anyhow::Result<()> {
                    super::die_after(stringify!($kind), stringify!($step)).await
                }
            )+
        })+
    };
}

dies_after! {
    create: billing database secret volume workload route ready;
    start: billing workload ready;
    stop: workload gone;
    restart: workload ready;
    suspend: workload gone route;
    unsuspend: route workload ready;
    apply_resources: volume workload ready;
    terminate: workload gone route database;
    undelete: database secret volume workload route ready;
}
