//! The worker dies after each step of each operation, after the effect and before the record. The last start
//! must end the operation as wanted, with exactly one of each object and one mail about it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack, kubectl, mail};
use serde_json::json;
use test_kit::eventually;

use crate::deaths::{self, Next};

/// Runs one operation while a worker dies after each of its steps, then checks what the last worker made of
/// it.
async fn die_after_each(kind: &str, next: Next, steps: &[&str]) -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, &format!("kill-{kind}")).await?;
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

    let id = deaths::after_each(
        &stack,
        next,
        kind,
        steps,
        async || begin(&stack, &ada, kind, prepared.as_ref()).await,
        async |_| Ok(()),
    )
    .await?;
    finish(&stack, &ada, kind, &id).await
}

/// Asks for the operation. The instance's id.
async fn begin(
    stack: &Stack,
    ada: &Customer,
    kind: &str,
    prepared: Option<&serde_json::Value>,
) -> anyhow::Result<String> {
    let Some(body) = prepared else { return ada.create("Killed").await };
    let id = body["id"].as_str().context("id")?.to_owned();
    match kind {
        "terminate" => {
            let path = format!("/instance/instances/{id}/terminate");
            ada.post(&path, json!({"confirm": body["subdomain"]})).await?.expect(202)?;
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
    if kind == "apply_resources" {
        limits_are_applied(stack, id).await?;
    }
    one_mail(stack, &ada.email, kind).await
}

/// INS-29: what the row says is what the one pod of the instance has.
async fn limits_are_applied(stack: &Stack, id: &str) -> anyhow::Result<()> {
    for object in ["deployments", "pods"] {
        let found = kubectl::objects(stack, object, id).await?.remove(0);
        let path = if object == "pods" { "/spec" } else { "/spec/template/spec" };
        let limit = found.pointer(&format!("{path}/containers/0/resources/limits/cpu"));
        ensure!(limit.is_some_and(|cpu| cpu == "500m"), "{object} have {limit:?}");
    }
    Ok(())
}

/// The customer is told once of what was done once.
async fn one_mail(stack: &Stack, address: &str, kind: &str) -> anyhow::Result<()> {
    let about = match kind {
        "create" => "is ready",
        "start" => "was started",
        "stop" => "was stopped",
        "suspend" => "was suspended",
        "unsuspend" => "is back",
        "terminate" => "was deleted",
        _ => return Ok(()),
    };
    let count = eventually(&format!("the mail {about:?}"), Duration::from_mins(1), || async {
        let subjects = mail::subjects(stack, address).await;
        let count = subjects.iter().filter(|subject| subject.to_lowercase().contains(about)).count();
        (count > 0).then_some(count)
    })
    .await;
    ensure!(count == 1, "{count} mails with {about:?}");
    Ok(())
}

/// One test for each operation.
macro_rules! dies_after {
    ($($kind:ident, $next:ident: $($step:ident)+;)+) => {
        $(
            /// REL-01, K8S-18
            #[tokio::test]
            async fn $kind() -> anyhow::Result<()> {
                die_after_each(stringify!($kind), Next::$next, &[$(stringify!($step)),+]).await
            }
        )+
    };
}

dies_after! {
    create, Another: billing database secret volume workload route ready;
    start, Restarted: billing workload ready;
    stop, Restarted: workload gone;
    restart, Restarted: workload ready;
    suspend, Restarted: workload gone route;
    unsuspend, Restarted: route workload ready;
    apply_resources, Restarted: volume workload ready;
    terminate, Another: workload gone route database;
    undelete, Restarted: database secret volume workload route ready;
}
