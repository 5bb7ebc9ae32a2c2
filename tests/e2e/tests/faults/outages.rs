//! Servers that are away for a while: nothing is lost, nothing happens twice.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use e2e::api::anonymous;
use e2e::{Customer, Stack, control, kubectl};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use test_kit::eventually;

/// How long the API server is away: the fault itself, not a wait for a condition. The leader has given its
/// lead up by then, and the lease has ended.
const AWAY: Duration = Duration::from_secs(20);
/// K8S-24
const TAKEOVER: Duration = Duration::from_secs(20);

async fn ten(ada: &Customer) -> anyhow::Result<Vec<String>> {
    try_join_all((1..=10).map(|i| {
        let ada = ada.clone();
        async move { ada.create(&format!("outage {i}")).await }
    }))
    .await
}

async fn all_run_once(stack: &Stack, ada: &Customer, ids: &[String]) -> anyhow::Result<()> {
    try_join_all(ids.iter().map(|id| ada.until(id, "running"))).await?;
    for id in ids {
        for (kind, count) in kubectl::counts(stack, id).await? {
            ensure!(count == 1, "{count} {kind} of {id}");
        }
    }
    Ok(())
}

/// REL-04: the broker is away while ten creates are asked for.
#[tokio::test]
async fn ten_creates_run_although_the_broker_was_away() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "broker").await?;
    control::stop_server(&stack, "rabbitmq").await?;
    let ids = ten(&ada).await;
    control::start_server(&stack, "rabbitmq").await?;
    all_run_once(&stack, &ada, &ids?).await
}

/// REL-04: all queues are emptied while ten creates are on their way.
#[tokio::test]
async fn ten_creates_run_although_the_queues_were_purged() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "purge").await?;
    let ids = ten(&ada).await?;
    control::purge_queues(&stack).await?;
    all_run_once(&stack, &ada, &ids).await
}

/// REL-06: PostgreSQL restarts during ten creates.
#[tokio::test]
async fn ten_creates_run_although_postgres_restarted() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "postgres").await?;
    let ids = ten(&ada).await?;
    control::stop_server(&stack, "postgres").await?;
    control::start_server(&stack, "postgres").await?;
    all_run_once(&stack, &ada, &ids).await
}

/// K8S-17, K8S-21: the API server is away; nothing is deleted or doubled, and the watch goes on.
#[tokio::test]
async fn the_watch_resumes_after_the_api_server_was_away() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "apiserver").await?;
    let instance = ada.create_running("Watch").await?;
    let id = instance["id"].as_str().context("id")?;
    let pods = kubectl::pod_uids(&stack, id).await?;

    control::stop_server(&stack, "apiserver").await?;
    let during = ada.create("Asked for while away").await;
    tokio::time::sleep(AWAY).await;
    control::start_server(&stack, "apiserver").await?;

    ensure!(kubectl::pod_uids(&stack, id).await? == pods, "the pod was replaced");
    ada.until(&during?, "running").await?;
    kubectl::run(
        &stack,
        &[
            "delete",
            "pods",
            "-n",
            kubectl::TENANTS,
            "-l",
            &format!("saasodoo.io/instance-id={id}"),
            "--wait=false",
        ],
    )
    .await?;
    eventually("a new pod is seen", Duration::from_mins(1), || async {
        let now = kubectl::pod_uids(&stack, id).await.ok()?;
        (now.len() == 1 && now != pods).then_some(())
    })
    .await;
    ada.until(id, "running").await?;
    Ok(())
}

/// REL-07: without Redis a live token works, and a login fails closed.
#[tokio::test]
async fn live_tokens_work_while_redis_is_away() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "redis").await?;
    control::stop_server(&stack, "redis").await?;
    let listed = ada.get("/instance/instances").await;
    let login = json!({"email": ada.email, "password": "Correct-Horse-7"});
    let login = anonymous(&stack, Method::POST, "/user/auth/login", Some(login)).await;
    control::start_server(&stack, "redis").await?;
    listed?.expect(200)?;
    login?.expect(503)?;
    eventually("logins work again", Duration::from_secs(30), || async {
        Customer::sign_in(&stack, &ada.email, "Correct-Horse-7").await.ok()
    })
    .await;
    Ok(())
}

/// K8S-24: the leading worker is killed; the other one takes over within 20 s and repairs.
#[tokio::test]
async fn another_worker_takes_over_when_the_leader_dies() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "leader").await?;
    let instance = ada.create_running("Leader").await?;
    let id = instance["id"].as_str().context("id")?;
    let old = kubectl::objects(&stack, "services", id).await?[0]["metadata"]["uid"].clone();
    let name = format!("odoo-{id}");
    control::start_replica(&stack, "instance-worker").await?;
    control::kill_service(&stack, "instance-worker").await?;
    let killed = Instant::now();

    kubectl::run(&stack, &["delete", "service", "-n", kubectl::TENANTS, &name, "--wait=false"]).await?;
    let repaired = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            let services = kubectl::objects(&stack, "services", id).await.unwrap_or_default();
            if services.len() == 1 && services[0]["metadata"]["uid"] != old {
                return killed.elapsed();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    control::stop_replica(&stack, "instance-worker").await?;
    control::start_service(&stack, "instance-worker", &[], true).await?;
    let took = repaired.context("the other worker repaired nothing")?;
    ensure!(took < TAKEOVER, "repaired only after {took:?}");
    Ok(())
}
