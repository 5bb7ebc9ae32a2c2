//! The main job as a customer and an operator see it (the guide's tests 1 to 4, and what the guide leaves
//! out).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::api::{anonymous, sign_in_to_odoo, visit};
use e2e::{Customer, Stack, kubectl, mail};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use test_kit::eventually;

const SOON: Duration = Duration::from_mins(1);

/// GTW-02, GTW-06
#[tokio::test]
async fn all_services_are_healthy_and_an_unknown_path_is_a_problem() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    for service in ["user", "billing", "instance", "database", "notification"] {
        for page in ["health", "health/database"] {
            let body =
                anonymous(&stack, Method::GET, &format!("/{service}/{page}"), None).await?.expect(200)?;
            ensure!(body["status"] == "healthy", "{service}/{page}: {body}");
        }
    }
    let unknown = anonymous(&stack, Method::GET, "/nothing-here", None).await?;
    ensure!(unknown.status == 404 && unknown.reason() == "not_found");
    Ok(())
}

/// INS-01, INS-22, INS-23, INS-26, INS-31, K8S-04, GTW-18, NTF-03, NTF-04
#[tokio::test]
async fn an_instance_lives_its_whole_life() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "life").await?;
    let instance = ada.create_running("Whole life").await?;
    let id = instance["id"].as_str().context("id")?;
    let subdomain = instance["subdomain"].as_str().context("subdomain")?;
    for (kind, count) in kubectl::counts(&stack, id).await? {
        ensure!(count == 1, "{count} {kind}");
    }
    ensure!(matches!(visit(&stack, subdomain).await?, 200 | 302 | 303));

    let stop = ada.act(id, "stop").await?.expect(202)?;
    ada.until(id, "stopped").await?;
    ensure!(kubectl::objects(&stack, "pods", id).await?.is_empty(), "stopped, but a pod is left");
    let ended = ada.operation_end(id, stop["operation_id"].as_str().context("operation")?).await?;
    ensure!(ended["state"] == "succeeded" && ended["progress"] == 100);
    ensure!(ada.act(id, "stop").await?.expect(200)?["changed"] == false);
    ensure!(visit(&stack, subdomain).await? == 503, "a stopped host answers 503");

    ada.act(id, "start").await?.expect(202)?;
    ada.until(id, "running").await?;
    let before = kubectl::pod_uids(&stack, id).await?;
    ada.act(id, "restart").await?.expect(202)?;
    ada.until(id, "running").await?;
    ensure!(kubectl::pod_uids(&stack, id).await? != before, "the same pod after a restart");

    let wrong = ada.post(&format!("/instance/instances/{id}/terminate"), json!({"confirm": "wrong"})).await?;
    ensure!(wrong.status == 422 && wrong.reason() == "confirm_mismatch", "{wrong:?}");
    let ended = ada
        .post(&format!("/instance/instances/{id}/terminate"), json!({"confirm": subdomain}))
        .await?
        .expect(202)?;
    ensure!(ended["purge_after"].is_string());
    ada.until(id, "terminated").await?;
    ensure!(kubectl::objects(&stack, "pods", id).await?.is_empty());
    ensure!(
        kubectl::objects(&stack, "persistentvolumeclaims", id).await?.len() == 1,
        "data is kept until the purge"
    );

    for subject in ["being prepared", "is ready", "was stopped", "was started", "was deleted"] {
        let count = eventually(&format!("the mail with {subject:?}"), SOON, || async {
            let count = mail::subjects(&stack, &ada.email)
                .await
                .iter()
                .filter(|s| s.to_lowercase().contains(subject))
                .count();
            (count > 0).then_some(count)
        })
        .await;
        ensure!(count == 1, "{count} mails with {subject:?}: {:?}", mail::subjects(&stack, &ada.email).await);
    }
    Ok(())
}

/// INS-14
#[tokio::test]
async fn ten_creates_at_once_all_run() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "ten").await?;
    let ids = try_join_all((1..=10).map(|i| {
        let ada = ada.clone();
        async move { ada.create(&format!("load test {i}")).await }
    }))
    .await?;
    try_join_all(ids.iter().map(|id| ada.until(id, "running"))).await?;
    Ok(())
}

/// K8S-31
#[tokio::test]
async fn what_somebody_deletes_or_edits_comes_back() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "drift").await?;
    let instance = ada.create_running("Drift").await?;
    let id = instance["id"].as_str().context("id")?;
    let name = format!("odoo-{id}");
    for kind in ["deployments", "services", "ingresses", "networkpolicies"] {
        let old = kubectl::objects(&stack, kind, id).await?[0]["metadata"]["uid"].clone();
        kubectl::run(&stack, &["delete", kind, "-n", kubectl::TENANTS, &name, "--wait=false"]).await?;
        eventually(&format!("a new object of {kind}"), SOON, || async {
            let objects = kubectl::objects(&stack, kind, id).await.ok()?;
            (objects.len() == 1 && objects[0]["metadata"]["uid"] != old).then_some(())
        })
        .await;
    }
    ada.until(id, "running").await?;

    kubectl::run(&stack, &["scale", "-n", kubectl::TENANTS, &format!("deployment/{name}"), "--replicas=0"])
        .await?;

    eventually("replicas 1 again", SOON, || async {
        let deployments = kubectl::objects(&stack, "deployments", id).await.ok()?;
        (deployments.first()?["spec"]["replicas"] == 1).then_some(())
    })
    .await;
    ada.until(id, "running").await?;
    Ok(())
}

/// INS-31: an operation can be followed live and resumed.
#[tokio::test]
async fn an_operation_is_followed_by_events() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "events").await?;
    let id = ada.create("Followed").await?;
    let operations = ada.get(&format!("/instance/instances/{id}/operations")).await?.expect(200)?;
    let operation = operations["operations"][0]["id"].as_str().context("operation")?;
    let path = format!("/instance/instances/{id}/operations/{operation}/stream");

    let text = ada.stream(&path, None).await?;

    ensure!(text.contains("event: operation"), "{text}");
    ensure!(text.contains("\"succeeded\""), "the stream ended before the operation: {text}");
    let ids: Vec<i64> =
        text.lines().filter_map(|line| line.strip_prefix("id:")?.trim().parse().ok()).collect();
    ensure!(ids.windows(2).all(|pair| pair[0] < pair[1]), "revisions do not grow: {ids:?}");
    let last = *ids.last().context("no id")?;
    let resumed = ada.stream(&path, Some(last - 1)).await?;
    ensure!(resumed.matches("event: operation").count() == 1, "resumed after {}: {resumed}", last - 1);
    Ok(())
}

/// INS-37: once, and by the owner only.
#[tokio::test]
async fn credentials_are_revealed_once_and_work() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "reveal").await?;
    let eve = Customer::sign_up(&stack, "eve").await?;
    let instance = ada.create_running("Reveal").await?;
    let id = instance["id"].as_str().context("id")?;

    ensure!(eve.act(id, "credentials/reveal").await?.status == 404);
    let shown = ada.act(id, "credentials/reveal").await?.expect(200)?;
    let (login, password) = (
        shown["admin_email"].as_str().context("login")?,
        shown["admin_password"].as_str().context("password")?,
    );
    ensure!(password.len() >= 20);
    let subdomain = instance["subdomain"].as_str().context("subdomain")?;
    ensure!(sign_in_to_odoo(&stack, subdomain, login, password).await?, "the password opens nothing");
    ensure!(!sign_in_to_odoo(&stack, subdomain, login, "Correct-Horse-7").await?, "any password opens it");
    let again = ada.act(id, "credentials/reveal").await?;
    ensure!(again.status == 410 && again.reason() == "already_revealed", "{again:?}");
    Ok(())
}

/// SEC-01: a stranger sees nothing and changes nothing.
#[tokio::test]
async fn a_stranger_gets_404_everywhere() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "owner").await?;
    let eve = Customer::sign_up(&stack, "stranger").await?;
    let id = ada.create("Mine").await?;
    for path in ["", "/status", "/events", "/operations", "/logs"] {
        let answer = eve.get(&format!("/instance/instances/{id}{path}")).await?;
        ensure!(answer.status == 404 && answer.reason() == "not_found", "{path}: {answer:?}");
    }
    for action in ["start", "stop", "restart"] {
        ensure!(eve.act(&id, action).await?.status == 404, "{action}");
    }
    let suspend = format!("/instance/instances/{id}/suspend");
    let refused = eve.post(&suspend, json!({"reason": "because"})).await?;
    ensure!(refused.status == 403 && refused.reason() == "forbidden", "{refused:?}");
    ensure!(eve.get("/instance/instances").await?.expect(200)?["total"] == 0);
    Ok(())
}

/// INS-12, INS-07
#[tokio::test]
async fn a_repeated_create_with_a_key_is_one_instance() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "idem").await?;
    let body = json!({"name": "Once"});
    let first = ada.post_once("/instance/instances", "key-1", body.clone()).await?.expect(201)?;
    let second = ada.post_once("/instance/instances", "key-1", body).await?.expect(201)?;
    ensure!(first["id"] == second["id"]);
    let other = ada.post_once("/instance/instances", "key-1", json!({"name": "Other"})).await?;
    ensure!(other.status == 409 && other.reason() == "idempotency_mismatch", "{other:?}");
    let taken =
        ada.post("/instance/instances", json!({"name": "x", "subdomain": first["subdomain"]})).await?;
    ensure!(taken.status == 409 && taken.reason() == "subdomain_taken", "{taken:?}");
    Ok(())
}
