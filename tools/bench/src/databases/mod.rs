//! `databases`: giving instances a database, against the two statements that it cannot do without, on the
//! same server in the same run; a move of a large database; and a health round over many pools.

mod bare;
mod many_pools;
mod moving;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use e2e::{Customer, Stack};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::clock::{many, timed};
use crate::figures::{Figures, percentile, say};
use crate::provision::memory;

const BASE: &str = "/database/api/database";
/// Longest wait for a pool or for a task.
const PATIENCE: Duration = Duration::from_mins(5);

/// Options.
#[derive(Debug, Args)]
pub struct Settings {
    /// Databases that are made one after the other, by the platform and bare
    #[arg(long, default_value_t = 30)]
    followed: usize,
    /// Databases that are made in parallel, by the platform and bare
    #[arg(long, default_value_t = 100)]
    parallel: usize,
    /// How many at once
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Pools that a health round looks at, at least; those that are missing are made
    #[arg(long, default_value_t = 20)]
    pools: usize,
    /// Databases on all of them, at least; those that are missing are made
    #[arg(long, default_value_t = 1000)]
    tenants: usize,
    /// Size in MiB of the database that is moved; 0: none is
    #[arg(long, default_value_t = 1024)]
    move_mib: u32,
}

/// Runs all parts.
pub async fn run(settings: &Settings, stack: &Stack) -> anyhow::Result<Figures> {
    let mut figures = Figures::new("databases");
    let admin = Customer::admin(stack).await?;
    let needed = settings.followed + settings.parallel;
    ensure!(needed <= 450, "all databases must fit into one pool of 500");
    // A pool of its own, chosen first: nothing else is on it, and no other pool has a part in the figures.
    let pool = own_pool(&admin, 500).await?;
    let name = pool["name"].as_str().context("name")?.to_owned();
    let server = bare::Server::connect(stack, &pool).await?;
    say(&format!("measuring on {name}"));

    say("one by one");
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    allocate(&admin).await?;
    server.make().await?;
    for _ in 0..settings.followed {
        // In turns, so that both meet the same machine.
        ours.push(timed(allocate(&admin)).await?);
        theirs.push(timed(server.make()).await?);
    }
    figures.add_times("allocation with room", &ours, [None, None]);
    figures.add_times("bare CREATE ROLE and CREATE DATABASE", &theirs, [None, None]);
    let ratio = percentile(&ours, 0.5).as_secs_f64() / percentile(&theirs, 0.5).as_secs_f64();
    figures.add("allocation over bare, p50", ratio, "×", Some("≤ 1.15"));

    say("in parallel");
    let (ours, our_times) = many(settings.parallel, settings.concurrency, || allocate(&admin)).await?;
    let (theirs, their_times) = many(settings.parallel, settings.concurrency, || server.make()).await?;
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let count = settings.parallel as f64;
    figures.add("allocations", count / ours.as_secs_f64(), "1/s", None);
    figures.add("bare", count / theirs.as_secs_f64(), "1/s", None);
    figures.add("allocations over bare", theirs.as_secs_f64() / ours.as_secs_f64(), "×", Some("≥ 0.8"));
    figures.add_times("allocation in parallel", &our_times, [None, None]);
    figures.add_times("bare in parallel", &their_times, [None, None]);

    if settings.move_mib > 0 {
        moving::run(settings.move_mib, stack, &admin, &mut figures).await?;
    }
    many_pools::fill(&admin, settings.pools, settings.tenants, settings.concurrency).await?;
    say("health round");
    memory(stack, "before the round", &mut figures).await?;
    round(&admin, &mut figures).await?;
    memory(stack, "after", &mut figures).await?;
    Ok(figures)
}

async fn allocate(admin: &Customer) -> anyhow::Result<()> {
    let body = json!({"instance_id": Uuid::now_v7(), "customer_id": Uuid::now_v7(), "plan_tier": "starter"});
    admin.post(&format!("{BASE}/allocate"), body).await?.expect(200)?;
    Ok(())
}

/// Orders a pool, waits until it is active, and puts it first.
async fn own_pool(admin: &Customer, slots: u32) -> anyhow::Result<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let path = format!("{BASE}/admin/provision-pool");
        let answer = admin.post(&path, json!({"max_instances": slots})).await?;
        let (mine, id) = (answer.status == 202, answer.body["pool"]["id"].as_str().map(str::to_owned));
        ensure!(mine || answer.reason() == "pool_in_progress", "{}", answer.body);
        let path = format!("{BASE}/admin/pools/{}", id.context("no pool")?);
        loop {
            let pool = admin.get(&path).await?.expect(200)?;
            match pool["status"].as_str() {
                Some("active") if mine && slots > 1 => {
                    let body = json!({"priority": 0, "reason": "measured alone"});
                    return admin.send(Method::PATCH, &path, Some(body)).await?.expect(200);
                }
                Some("active" | "full") if mine => return Ok(pool),
                // Somebody else's: now ours can be ordered.
                Some("active" | "full") => break,
                Some("error") => bail!("the pool failed: {}", pool["last_error"]),
                _ => ensure!(Instant::now() < deadline, "no pool after {PATIENCE:?}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// One round over all pools, as the schedule does it.
async fn round(admin: &Customer, figures: &mut Figures) -> anyhow::Result<()> {
    let begun = admin.post(&format!("{BASE}/admin/tasks/health-check"), json!({})).await?.expect(202)?;
    let path = format!("{BASE}/admin/tasks/{}", begun["task_id"].as_str().context("task_id")?);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let task = admin.get(&path).await?.expect(200)?;
        match task["state"].as_str() {
            Some("succeeded") => {
                let result = &task["result"];
                let number = |name: &str| result[name].as_f64().with_context(|| format!("no {name}: {task}"));
                figures.add("pools in a health round", number("checked")?, "", None);
                figures.add("databases on them", f64::from(many_pools::tenants(admin).await?), "", None);
                figures.add("health round", number("duration_ms")?, "ms", Some("< 5000"));
                return Ok(());
            }
            Some("failed") => bail!("the round failed: {task}"),
            _ => ensure!(Instant::now() < deadline, "no end of the round: {task}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
