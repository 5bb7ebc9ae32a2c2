//! Servers of one tenant in the cluster (DBS-10, DBS-11, DBS-16): ordered by an operator, or by a plan.

use anyhow::{Context as _, ensure};
use e2e::api::visit;
use e2e::databases::{BASE, NAMESPACE, PATIENCE, place, pool, psql, purge};
use e2e::{Customer, Stack, kubectl};
use serde_json::json;
use test_kit::eventually;

/// The StatefulSets that carry the label of an instance.
async fn labelled(stack: &Stack, id: &str) -> anyhow::Result<String> {
    let label = format!("saasodoo.io/instance-id={id}");
    kubectl::run(stack, &["get", "statefulset", "-n", NAMESPACE, "-l", &label, "-o", "name"]).await
}

/// Waits until the server is removed; its volume claim is still there then.
async fn goes_and_leaves_its_volume(
    stack: &Stack,
    admin: &Customer,
    id: &str,
    name: &str,
) -> anyhow::Result<()> {
    eventually("the server is gone", PATIENCE, || async {
        let pool = pool(admin, name).await?;
        (pool["status"] == "deprovisioned").then_some(())
    })
    .await;
    ensure!(labelled(stack, id).await?.trim().is_empty(), "the StatefulSet is still there");
    let claim = format!("data-{name}-0");
    kubectl::run(stack, &["get", "pvc", &claim, "-n", NAMESPACE, "-o", "name"]).await.map(drop)
}

/// DBS-10, DBS-11, DBS-16: a server of one's own is made, serves, and goes with its tenant; its volume claim
/// stays.
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
    ensure!(labelled(&stack, &id).await?.contains(&name), "no label with the instance");

    purge(&admin, &id).await?;
    goes_and_leaves_its_volume(&stack, &admin, &id, &name).await
}

/// BIL-03, DBS-10, DBS-11, DBS-34, INS-26: a plan with a server of its own, from the order to the end. The
/// server is made for it, is nobody else's, is kept with the database after the termination, and goes when
/// the database does; its volume claim stays some days more.
#[tokio::test]
async fn a_premium_plan_runs_on_a_database_server_of_its_own() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let (ada, admin) = (Customer::sign_up(&stack, "premium").await?, Customer::admin(&stack).await?);
    let order = json!({"name": "Premium", "plan": "premium-monthly", "trial": false});
    let made = ada.post("/instance/instances", order).await?.expect(201)?;
    let id = made["id"].as_str().context("id")?;
    let running = ada.until(id, "running").await?;
    ensure!(running["db_type"] == "dedicated", "{running}");
    let subdomain = running["subdomain"].as_str().context("subdomain")?;
    ensure!(matches!(visit(&stack, subdomain).await?, 200 | 302 | 303));

    let allocation = place(&admin, id).await?;
    let server = allocation["db_server_name"].as_str().context("server")?;
    ensure!(
        server.starts_with("postgres-dedicated-") && allocation["plan_tier"] == "premium",
        "{allocation}"
    );
    let seen = pool(&admin, server).await.context("the server")?;
    ensure!(seen["current_instances"] == 1 && seen["max_instances"] == 1, "{seen}");
    ensure!(seen["status"] == "full" && seen["server_type"] == "dedicated", "{seen}");
    ensure!(labelled(&stack, id).await?.contains(server), "no StatefulSet with the instance's label");
    let database = allocation["db_name"].as_str().context("db_name")?;
    // DBS-35: Odoo is connected, and by TLS alone.
    let query = format!(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE datname = '{database}' AND usename = '{database}'"
    );
    let encrypted = psql(&stack, server, "postgres", &query).await?;
    ensure!(encrypted == "t", "sessions of the tenant by TLS: {encrypted:?}");

    let end = json!({"confirm": subdomain});
    ada.post(&format!("/instance/instances/{id}/terminate"), end).await?.expect(202)?;
    ada.until(id, "terminated").await?;
    let kept = place(&admin, id).await?;
    ensure!(kept["status"] == "released" && kept["purge_after"].is_string(), "{kept}");
    let seen = pool(&admin, server).await.context("the server")?;
    ensure!(seen["current_instances"] == 1, "kept with its server: {seen}");

    purge(&admin, id).await?;
    goes_and_leaves_its_volume(&stack, &admin, id, server).await
}
