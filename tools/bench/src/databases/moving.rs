//! A database that moves to another server: the whole time and the time off, against dump and restore by hand
//! on the same servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use e2e::{Customer, Stack};
use serde_json::{Value, json};

use super::{BASE, bare, own_pool};
use crate::figures::{Figures, say};
use crate::provision::NAMESPACE;

/// Longest wait for the end of a move.
const PATIENCE: Duration = Duration::from_hours(1);

/// Fills an instance's database with so many MiB, copies it by hand, then lets it move.
pub async fn run(
    mebibytes: u32,
    stack: &Stack,
    admin: &Customer,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let ada = Customer::sign_up(stack, "moving").await?;
    let instance = ada.create_running("Moving").await?;
    let id = instance["id"].as_str().context("id")?;
    let allocation = admin.get(&format!("{BASE}/allocations/{id}")).await?.expect(200)?;
    let text = |name: &str| allocation[name].as_str().with_context(|| format!("no {name}"));
    let (database, role, from) = (text("db_name")?, text("db_user")?, text("db_server_name")?);
    let target = own_pool(admin, 2).await?;
    let source = admin.get(&format!("{BASE}/admin/pools/{from}")).await?.expect(200)?;
    let here = Arc::new(bare::Server::connect(stack, &source).await?);
    let there = Arc::new(bare::Server::connect(stack, &target).await?);
    say(&format!("filling {mebibytes} MiB"));
    here.fill(database, role, mebibytes).await?;
    let at_work = here.work(stack, NAMESPACE, id).await?;

    say("by hand");
    let folder = std::env::temp_dir().join(format!("bench-{}", uuid::Uuid::now_v7()));
    std::fs::create_dir(&folder)?;
    let start = Instant::now();
    let (name, place) = (database.to_owned(), folder.clone());
    let (one, other) = (Arc::clone(&here), Arc::clone(&there));
    let copied = tokio::task::spawn_blocking(move || one.copy_to(&name, &other, &place)).await?;
    std::fs::remove_dir_all(&folder)?;
    copied?;
    let by_hand = start.elapsed();

    say("the move");
    let path = format!("{BASE}/admin/allocations/{id}/move");
    let body =
        |dry_run: bool| json!({"target_pool_id": target["name"], "reason": "measured", "dry_run": dry_run});
    let estimate = admin.post(&path, body(true)).await?.expect(200)?;
    let start = Instant::now();
    let begun = admin.post(&path, body(false)).await?.expect(202)?;
    let operation = end(admin, id, begun["operation_id"].as_str().context("operation_id")?).await?;
    let whole = start.elapsed();
    // Its session was ended for the last copies.
    let written = at_work.await?;
    ensure!(operation["state"] == "succeeded", "{operation}");
    let events = admin.get(&format!("/instance/instances/{id}/events?page_size=100")).await?.expect(200)?;
    let told =
        events["events"].as_array().into_iter().flatten().find(|event| event["type"] == "database_moved");
    let told = told.and_then(|event| event["message"].as_str()).context("no event of the move")?;
    let off: f64 = told
        .split(' ')
        .rev()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no time off in {told:?}"))?;

    figures.add("size of the moved database", number(&estimate, "size_bytes") / 1_048_576.0, "MiB", None);
    figures.add("rows written while it was copied", f64::from(written), "", None);
    figures.add("dump and restore by hand", by_hand.as_secs_f64(), "s", None);
    figures.add("move, whole time", whole.as_secs_f64(), "s", None);
    figures.add("move, instance off", off, "s", None);
    figures.add("move, estimated off", number(&estimate, "estimated_downtime_seconds"), "s", None);
    figures.add("move over dump and restore by hand", whole.as_secs_f64() / by_hand.as_secs_f64(), "×", None);
    Ok(())
}

fn number(body: &Value, name: &str) -> f64 {
    body[name].as_f64().unwrap_or(0.0)
}

async fn end(admin: &Customer, instance: &str, operation: &str) -> anyhow::Result<Value> {
    let path = format!("/instance/instances/{instance}/operations/{operation}");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let body = admin.get(&path).await?.expect(200)?;
        match body["state"].as_str() {
            Some("succeeded" | "failed" | "cancelled") => return Ok(body),
            _ if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => bail!("the move did not end: {body}"),
        }
    }
}
