//! The main job as a customer and an operator see it (the guide's tests 1 to 4, and what the guide leaves out).

use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::api::{anonymous, visit};
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
    ensure!(shown["admin_password"].as_str().context("password")?.len() >= 20);
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
    ensure!(
        eve.post(&format!("/instance/instances/{id}/suspend"), json!({"reason": "because"})).await?.status
            >= 403
    );
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

/// GTW-12: one request id in the logs of the gateway and of the services behind it. SEC-04, MON-09, K8S-35: no secret in any log.
#[tokio::test]
async fn logs_carry_the_request_id_and_no_secret() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "logs").await?;
    let instance = ada.create_running("Logs").await?;
    let id = instance["id"].as_str().context("id")?;
    let shown = ada.act(id, "credentials/reveal").await?.expect(200)?;
    let planted = [
        ada.token().to_owned(),
        shown["admin_password"].as_str().context("password")?.to_owned(),
        ada.email.clone(),
        "Correct-Horse-7".to_owned(),
    ];
    let mut files = 0;
    for entry in std::fs::read_dir(&stack.logs).with_context(|| format!("{:?}", stack.logs))? {
        let path = entry?.path();
        let ours = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|stem| stem.ends_with("-service") || stem == "gateway" || stem == "instance-worker");
        if !ours {
            continue;
        }
        files += 1;
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        for secret in &planted {
            ensure!(!text.contains(secret.as_str()), "{} holds a planted secret", path.display());
        }
    }
    ensure!(files >= 7, "only {files} log files of services in {:?}", stack.logs);
    Ok(())
}

/// BIL-03, DBS-10, DBS-11, DBS-34, INS-26: a plan with a server of its own, from the order to the end. The server is made for it, is nobody else's, is kept
/// with the database after the termination, and goes when the database does; its volume claim stays some days more.
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

    let base = "/database/api/database";
    let allocation = admin.get(&format!("{base}/allocations/{id}")).await?.expect(200)?;
    let server = allocation["db_server_name"].as_str().context("server")?;
    ensure!(
        server.starts_with("postgres-dedicated-") && allocation["plan_tier"] == "premium",
        "{allocation}"
    );
    let pool = async || admin.get(&format!("{base}/admin/pools/{server}")).await?.expect(200);
    let seen = pool().await?;
    ensure!(seen["current_instances"] == 1 && seen["max_instances"] == 1, "{seen}");
    ensure!(seen["status"] == "full" && seen["server_type"] == "dedicated", "{seen}");
    let label = [
        "get",
        "statefulset",
        "-n",
        "saasodoo",
        "-l",
        &format!("saasodoo.io/instance-id={id}"),
        "-o",
        "name",
    ];
    ensure!(kubectl::run(&stack, &label).await?.contains(server), "no StatefulSet with the instance's label");
    let database = allocation["db_name"].as_str().context("db_name")?;
    let pod = format!("{server}-0");
    // DBS-35: Odoo is connected, and by TLS alone.
    let query = format!(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = '{database}' AND usename = '{database}'"
    );
    let psql =
        ["exec", "-n", "saasodoo", &pod, "--", "psql", "-U", "pool_admin", "-d", "postgres", "-Atc", &query];
    let encrypted = kubectl::run(&stack, &psql).await?;
    ensure!(encrypted.trim() == "t", "sessions of the tenant by TLS: {encrypted:?}");

    let end = json!({"confirm": subdomain});
    ada.post(&format!("/instance/instances/{id}/terminate"), end).await?.expect(202)?;
    ada.until(id, "terminated").await?;
    let kept = admin.get(&format!("{base}/allocations/{id}")).await?.expect(200)?;
    ensure!(kept["status"] == "released" && kept["purge_after"].is_string(), "{kept}");
    ensure!(pool().await?["current_instances"] == 1, "kept with its server");

    let purge = json!({"instance_id": id, "mode": "purge", "reason": "the test is over"});
    admin.post(&format!("{base}/release"), purge).await?.expect(202)?;
    eventually("the server is gone", Duration::from_mins(3), || async {
        let pool = admin.get(&format!("{base}/admin/pools/{server}")).await.ok()?.expect(200).ok()?;
        (pool["status"] == "deprovisioned").then_some(())
    })
    .await;
    ensure!(kubectl::run(&stack, &label).await?.trim().is_empty(), "the StatefulSet is still there");
    let claim = format!("data-{server}-0");
    kubectl::run(&stack, &["get", "pvc", &claim, "-n", "saasodoo", "-o", "name"]).await?;
    Ok(())
}
