//! Pools and dedicated servers in the cluster: a pool that vanishes comes back with its data, a premium plan gets its own server (DBS-10, DBS-27,
//! DBS-34), and a removed server leaves its volume.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack, kubectl};
use serde_json::{Value, json};
use test_kit::eventually;

const NAMESPACE: &str = "saasodoo";
const BASE: &str = "/database/api/database";
const PATIENCE: Duration = Duration::from_mins(3);

async fn pool(admin: &Customer, name: &str) -> Option<Value> {
    admin.get(&format!("{BASE}/admin/pools/{name}")).await.ok()?.expect(200).ok()
}

async fn psql(stack: &Stack, pool: &str, database: &str, sql: &str) -> anyhow::Result<String> {
    let pod = format!("{pool}-0");
    let arguments =
        ["exec", "-n", NAMESPACE, &pod, "--", "psql", "-U", "pool_admin", "-d", database, "-Atc", sql];
    kubectl::run(stack, &arguments).await
}

/// DBS-27, DBS-28: somebody deletes the StatefulSet; the worker makes it again, the volume is the same, and so is what a tenant wrote.
#[tokio::test]
async fn a_pool_that_vanishes_comes_back_with_its_data() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let id = format!("vanish-{}", uuid::Uuid::now_v7().simple());
    let body = json!({"instance_id": id, "customer_id": "vanish", "plan_tier": "starter"});
    let made = eventually("a database", PATIENCE, || async {
        let answer = admin.post(&format!("{BASE}/allocate"), body.clone()).await.ok()?;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    let name = made["db_server_name"].as_str().context("server")?.to_owned();
    let database = made["db_name"].as_str().context("database")?.to_owned();
    psql(&stack, &name, &database, "CREATE TABLE kept AS SELECT 42 AS x").await?;
    let uid = ["get", "statefulset", &name, "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}"];
    let before = kubectl::run(&stack, &uid).await?;

    kubectl::run(&stack, &["delete", "statefulset", &name, "-n", NAMESPACE, "--wait=true"]).await?;

    eventually("another StatefulSet", PATIENCE, || async {
        kubectl::run(&stack, &uid).await.ok().filter(|now| *now != before)
    })
    .await;
    let kept = eventually("the data", PATIENCE, || async {
        psql(&stack, &name, &database, "SELECT x FROM kept").await.ok()
    })
    .await;
    ensure!(kept.trim() == "42", "{kept}");
    eventually("the pool is healthy", PATIENCE, || async {
        let _ = admin.post(&format!("{BASE}/admin/pools/{name}/health-check"), json!({})).await;
        let pool = pool(&admin, &name).await?;
        (pool["health_status"] == "healthy" && pool["status"] == "active").then_some(())
    })
    .await;
    let release = json!({"instance_id": id, "mode": "purge", "reason": "the test is over"});
    admin.post(&format!("{BASE}/release"), release).await?.expect(202)?;
    let left =
        psql(&stack, &name, "postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE '%vanish%'")
            .await?;
    ensure!(left.trim() == "0", "the purged database is still there");
    Ok(())
}

/// DBS-10, DBS-11, DBS-16: a server of one's own is made, serves, and goes with its tenant; its volume claim stays.
#[tokio::test]
async fn a_dedicated_server_is_made_and_goes_with_its_tenant() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let admin = Customer::admin(&stack).await?;
    let id = uuid::Uuid::now_v7().to_string();
    let body = json!({"instance_id": id, "customer_id": "own", "plan_tier": "premium"});
    let path = format!("{BASE}/provision-dedicated");
    let ordered = admin.post(&path, body.clone()).await?.expect(202)?;
    let name = ordered["name"].as_str().context("name")?.to_owned();
    ensure!(name.starts_with("postgres-dedicated-"), "{ordered}");

    let made = eventually("the tenant's own server", PATIENCE, || async {
        let answer = admin.post(&path, body.clone()).await.ok()?;
        (answer.status == 200).then_some(answer.body)
    })
    .await;
    ensure!(made["db_type"] == "dedicated" && made["db_server_name"] == name.as_str(), "{made}");
    let label =
        ["get", "statefulset", "-n", NAMESPACE, "-l", &format!("saasodoo.io/instance-id={id}"), "-o", "name"];
    ensure!(kubectl::run(&stack, &label).await?.contains(&name), "no label with the instance");

    let release = json!({"instance_id": id, "mode": "purge", "reason": "the test is over"});
    admin.post(&format!("{BASE}/release"), release).await?.expect(202)?;
    eventually("it is gone", PATIENCE, || async {
        let pool = pool(&admin, &name).await?;
        (pool["status"] == "deprovisioned").then_some(())
    })
    .await;
    ensure!(kubectl::run(&stack, &label).await?.trim().is_empty(), "the StatefulSet is still there");
    let claim = format!("data-{name}-0");
    kubectl::run(&stack, &["get", "pvc", &claim, "-n", NAMESPACE, "-o", "name"]).await?;
    Ok(())
}
