//! What the log files of the services hold, and what they do not.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::{Customer, Stack};
use serde_json::json;
use test_kit::eventually;

/// The log files of the platform's programs, with their names.
fn of_services(stack: &Stack) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&stack.logs).with_context(|| stack.logs.display().to_string())? {
        let path = entry?.path();
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        if stem.ends_with("-service") || stem == "gateway" || stem == "instance-worker" {
            found.push((stem.to_owned(), path));
        }
    }
    ensure!(found.len() >= 7, "only {found:?} in {}", stack.logs.display());
    Ok(found)
}

fn text(path: &PathBuf) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// GTW-12: one request id in the logs of the gateway, of the worker that carries it out, and of the service
/// that it asks.
#[tokio::test]
async fn a_request_is_found_by_its_id_in_the_logs_of_all_that_worked_on_it() -> anyhow::Result<()> {
    let stack = Stack::load()?;
    let ada = Customer::sign_up(&stack, "request-id").await?;
    let request = uuid::Uuid::now_v7().to_string();

    let header = ("x-request-id", request.as_str());
    let made = ada.post_with("/instance/instances", header, json!({"name": "Traced"})).await?.expect(201)?;
    ada.until(made["id"].as_str().context("id")?, "running").await?;

    let files = of_services(&stack)?;
    for name in ["gateway", "instance-worker", "database-service"] {
        let (_, path) = files.iter().find(|(stem, _)| stem == name).context("no such log")?;
        eventually(&format!("the request in the log of {name}"), Duration::from_secs(30), || async {
            text(path).ok()?.contains(&request).then_some(())
        })
        .await;
    }
    Ok(())
}

/// SEC-04, MON-09, K8S-35: no secret in any log.
#[tokio::test]
async fn logs_carry_no_secret() -> anyhow::Result<()> {
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
    let mut about_it = false;
    for (name, path) in of_services(&stack)? {
        let text = text(&path)?;
        about_it |= text.contains(id);
        for secret in &planted {
            ensure!(!text.contains(secret.as_str()), "{name} logged a planted secret");
        }
    }
    ensure!(about_it, "nobody logged anything of the instance, so that nothing is proved");
    Ok(())
}
