//! `bench provision`: how fast instances are accepted, provisioned and shown; against a bare loop that
//! applies the same objects.
//!
//! Tenants' pods are simulated by the local node, so that the platform is measured and not Odoo.

mod accept;
mod bare;
mod follow;
mod resources;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use e2e::{Customer, Stack};
use futures::future::try_join_all;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::Method;
use serde_json::json;

use crate::figures::{Figures, say};

pub(crate) use bare::{NAMESPACE, client};
pub(crate) use resources::memory;

/// What to measure
#[derive(Debug, Args)]
pub struct Settings {
    /// Instances of the throughput run
    #[arg(long, default_value_t = 200)]
    instances: usize,
    /// Instances of the one-by-one run
    #[arg(long, default_value_t = 30)]
    followed: usize,
    /// Seconds of the steady state
    #[arg(long, default_value_t = 60)]
    steady_seconds: u64,
    /// Leave out the acceptance and the one-by-one run
    #[arg(long)]
    throughput_only: bool,
    /// The one-by-one run alone
    #[arg(long, conflicts_with = "throughput_only")]
    followed_only: bool,
}

/// Creates in flight of the throughput run, and of the bare loop.
const CONCURRENCY: usize = 50;

/// Customers whose requests the acceptance run mixes.
const CUSTOMERS: usize = 20;

/// Runs all parts.
pub async fn run(settings: &Settings, stack: &Stack) -> anyhow::Result<Figures> {
    let mut figures = Figures::new("provision");
    let cluster = bare::client(stack).await?;
    let admin = Customer::admin(stack).await?;
    let customer = Arc::new(generous_customer(stack, &admin).await?);
    say("warming up: one instance, and with it the pool");
    let model = customer.create_running("Warm up").await?;
    let model = model["id"].as_str().context("id")?.to_owned();
    resources::memory(stack, "idle", &mut figures).await?;

    if !settings.throughput_only {
        say("one by one");
        follow::measure(&customer, &cluster, settings.followed, &mut figures).await?;
    }
    if !settings.throughput_only && !settings.followed_only {
        say("acceptance");
        let mut customers = Vec::new();
        for _ in 0..CUSTOMERS {
            customers.push(generous_customer(stack, &admin).await?);
        }
        accept::measure(&customers, &mut figures).await?;
    }
    if settings.followed_only {
        return Ok(figures);
    }

    say("throughput");
    let ours = throughput(&customer, settings.instances).await?;
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let count = settings.instances as f64;
    figures.add("platform, instances to running", count / ours.as_secs_f64(), "1/s", None);
    let bare = bare::throughput(&cluster, &model, settings.instances, CONCURRENCY).await?;
    figures.add("bare loop, instances to ready", count / bare.as_secs_f64(), "1/s", None);
    figures.add("platform over bare loop", bare.as_secs_f64() / ours.as_secs_f64(), "×", Some("≥ 0.8"));

    say("steady state");
    resources::writes(&cluster, Duration::from_secs(settings.steady_seconds), &mut figures).await?;
    resources::memory(stack, "after", &mut figures).await?;
    Ok(figures)
}

/// A customer who may have as many instances as the run needs.
async fn generous_customer(stack: &Stack, admin: &Customer) -> anyhow::Result<Customer> {
    let customer = Customer::sign_up(stack, "bench").await?;
    let me = customer.get("/user/auth/me").await?.expect(200)?;
    let path = format!("/user/admin/customers/{}/quota", me["id"].as_str().context("id")?);
    let body = json!({"max_instances": 10_000, "reason": "benchmark"});
    admin.send(Method::PUT, &path, Some(body)).await?.expect(200)?;
    Ok(customer)
}

/// Creates `count` instances as fast as they are accepted; the time until all run.
async fn throughput(customer: &Customer, count: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let ids: Vec<String> = stream::iter(0..count)
        .map(|i| {
            let customer = customer.clone();
            async move { customer.create(&format!("Throughput {i}")).await }
        })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await?;
    ensure!(ids.len() == count, "only {} of {count} were accepted", ids.len());
    all_running(customer).await?;
    Ok(start.elapsed())
}

/// Waits until every instance of the customer runs.
async fn all_running(customer: &Customer) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_mins(10);
    loop {
        let counts = ["running", ""].map(|status| async move {
            let filter = if status.is_empty() { String::new() } else { format!("&status={status}") };
            let body =
                customer.get(&format!("/instance/instances?page_size=1{filter}")).await?.expect(200)?;
            body["total"].as_u64().context("no total")
        });
        let counts = try_join_all(counts).await?;
        if counts[0] == counts[1] {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{} of {} instances run after ten minutes", counts[0], counts[1]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
