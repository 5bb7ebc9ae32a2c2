//! Passwords change in the whole platform (DBS-32): an instance that is off stays off; a pool's administrator
//! gets another password without a restart. Deaths on the way are among the faults.

use anyhow::{Context as _, ensure};
use e2e::databases::{BASE, NAMESPACE, PATIENCE, owner, place, rotate, succeeded};
use e2e::{Customer, Stack, kubectl};
use serde_json::json;
use test_kit::eventually;

/// DBS-32: what is off stays off, and starts with the new password afterwards.
#[tokio::test]
async fn an_instance_that_is_off_stays_off() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let ada = Customer::sign_up(&stack, "rotate-off").await?;
    let body = ada.create_running("Off").await?;
    let id = body["id"].as_str().context("id")?;
    ada.act(id, "stop").await?.expect(202)?;
    ada.until(id, "stopped").await?;
    let before = owner(&stack, &admin, id).await?;

    succeeded(&admin, &rotate(&admin, id).await?).await;

    ada.until(id, "stopped").await?;
    ensure!(kubectl::objects(&stack, "pods", id).await?.is_empty(), "a pod was started");
    ensure!(owner(&stack, &admin, id).await? != before, "another role");
    ada.act(id, "start").await?.expect(202)?;
    ada.until(id, "running").await?;
    Ok(())
}

/// DBS-32: the Secret has the new password, the pod is the same, tenants notice nothing.
#[tokio::test]
async fn a_pools_administrator_changes_without_a_restart() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let ada = Customer::sign_up(&stack, "rotate-pool").await?;
    let body = ada.create_running("Pool").await?;
    let id = body["id"].as_str().context("id")?;
    let found = place(&admin, id).await?;
    let pool = found["db_server_name"].as_str().context("pool")?;
    let password = ["get", "secret", pool, "-n", NAMESPACE, "-o", "jsonpath={.data.password}"];
    let pod_name = format!("{pool}-0");
    let pod = ["get", "pod", &pod_name, "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}"];
    let before = (kubectl::run(&stack, &password).await?, kubectl::run(&stack, &pod).await?);

    let path = format!("{BASE}/admin/pools/{pool}/rotate");
    let task = admin.post(&path, json!({"reason": "the test asks for it"})).await?.expect(202)?;
    succeeded(&admin, task["task_id"].as_str().context("task")?).await;

    eventually("the Secret has the new password", PATIENCE, || async {
        kubectl::run(&stack, &password).await.ok().filter(|now| *now != before.0)
    })
    .await;
    ensure!(kubectl::run(&stack, &pod).await? == before.1, "the pod was restarted");
    let check =
        admin.post(&format!("{BASE}/admin/pools/{pool}/health-check"), json!({})).await?.expect(200)?;
    ensure!(check["health_status"] == "healthy", "{check}");
    ada.until(id, "running").await?;
    Ok(())
}
