//! A pool that vanishes from the cluster comes back with its data (DBS-27, DBS-28).

use anyhow::{Context as _, ensure};
use e2e::databases::{BASE, NAMESPACE, PATIENCE, pool, psql, purge};
use e2e::{Customer, Stack, kubectl};
use serde_json::json;
use test_kit::eventually;

/// DBS-27, DBS-28: somebody deletes the StatefulSet; the worker makes it again, the volume is the same, and
/// so is what a tenant wrote.
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
    ensure!(kept == "42", "{kept}");
    eventually("the pool is healthy", PATIENCE, || async {
        let _ = admin.post(&format!("{BASE}/admin/pools/{name}/health-check"), json!({})).await;
        let pool = pool(&admin, &name).await?;
        (pool["health_status"] == "healthy" && pool["status"] == "active").then_some(())
    })
    .await;
    purge(&admin, &id).await?;
    let left = "SELECT count(*) FROM pg_database WHERE datname LIKE '%vanish%'";
    let left = psql(&stack, &name, "postgres", left).await?;
    ensure!(left == "0", "the purged database is still there");
    Ok(())
}
