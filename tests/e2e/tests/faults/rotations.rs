//! Passwords change in the whole platform (DBS-32): the worker dies after each step of `rotate_password`, after the effect and before the record,
//! and another start ends it; an instance that is off stays off; a pool's administrator gets another password without a restart.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack, kubectl};
use serde_json::{Value, json};
use test_kit::eventually;

use crate::deaths;

const BASE: &str = "/database/api/database";
const PATIENCE: Duration = Duration::from_mins(3);

async fn psql(stack: &Stack, pool: &str, sql: &str) -> anyhow::Result<String> {
    let pod = format!("{pool}-0");
    let arguments =
        ["exec", "-n", "saasodoo", &pod, "--", "psql", "-U", "pool_admin", "-d", "postgres", "-Atc", sql];
    Ok(kubectl::run(stack, &arguments).await?.trim().to_owned())
}

async fn rotate(admin: &Customer, id: &str) -> anyhow::Result<String> {
    let path = format!("{BASE}/admin/allocations/{id}/rotate");
    let begun = admin.post(&path, json!({"reason": "the test asks for it"})).await?.expect(202)?;
    ensure!(begun["task_id"] == begun["operation_id"], "{begun}");
    Ok(begun["task_id"].as_str().context("task")?.to_owned())
}

async fn succeeded(admin: &Customer, task: &str) {
    eventually("the end of the task", PATIENCE, || async {
        let task = admin.get(&format!("{BASE}/admin/tasks/{task}")).await.ok()?.expect(200).ok()?;
        (task["state"] == "succeeded").then_some(())
    })
    .await;
}

/// The instance's place, and that one role owns the database there.
async fn owner(stack: &Stack, admin: &Customer, id: &str) -> anyhow::Result<String> {
    let found: Value = admin.get(&format!("{BASE}/allocations/{id}")).await?.expect(200)?;
    let (pool, user) =
        (found["db_server_name"].as_str().context("pool")?, found["db_user"].as_str().context("user")?);
    let name = found["db_name"].as_str().context("name")?;
    let roles = psql(
        stack,
        pool,
        &format!("SELECT string_agg(rolname, ',') FROM pg_roles WHERE rolname LIKE '{name}%'"),
    )
    .await?;
    ensure!(roles == user, "{roles} instead of {user}");
    let owner = psql(
        stack,
        pool,
        &format!("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{name}'"),
    )
    .await?;
    ensure!(owner == user, "{owner} owns {name}");
    Ok(user.to_owned())
}

/// REL-06, DBS-32
#[tokio::test]
async fn a_worker_that_dies_after_each_step_ends_it_all_the_same() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let ada = Customer::sign_up(&stack, "rotate-deaths").await?;
    let body = ada.create_running("Rotated").await?;
    let id = body["id"].as_str().context("id")?;
    let before = owner(&stack, &admin, id).await?;

    let steps = ["credential", "switch", "stop", "gone", "retire", "workload", "ready"];
    let begin = async || rotate(&admin, id).await;
    let task = deaths::after_each(&stack, "rotate_password", &steps, begin, async |_| Ok(())).await?;

    succeeded(&admin, &task).await;
    ada.until(id, "running").await?;
    ensure!(owner(&stack, &admin, id).await? != before, "another role");
    Ok(())
}

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
    let found: Value = admin.get(&format!("{BASE}/allocations/{id}")).await?.expect(200)?;
    let pool = found["db_server_name"].as_str().context("pool")?;
    let password = ["get", "secret", pool, "-n", "saasodoo", "-o", "jsonpath={.data.password}"];
    let pod_name = format!("{pool}-0");
    let pod = ["get", "pod", &pod_name, "-n", "saasodoo", "-o", "jsonpath={.metadata.uid}"];
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
