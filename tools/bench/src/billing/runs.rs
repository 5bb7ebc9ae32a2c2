//! What happens by itself: a renewal run, and sweeps over subscriptions for which nothing is due.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use contracts::services::BILLING;
use e2e::Stack;
use serde_json::Value;
use sqlx::postgres::PgPool;

use super::PATIENCE;
use crate::figures::{Figures, say};

/// How many sweeps are watched when nothing is due.
const SWEEPS: usize = 12;

/// Writes active subscriptions of customers of their own, whose period ended `ended` ago, and which the sweep
/// does not look at yet.
async fn subscriptions(books: &PgPool, count: i32, period_end: &str) -> anyhow::Result<()> {
    let mut tx = books.begin().await?;
    sqlx::query("CREATE TEMP TABLE made ON COMMIT DROP AS SELECT gen_random_uuid() AS customer, gen_random_uuid() AS instance,
                     gen_random_uuid() AS placed, gen_random_uuid() AS subscription FROM generate_series(1, $1)")
        .bind(count)
        .execute(&mut *tx)
        .await?;
    for statement in [
        "INSERT INTO customers (id, provider_account_id) SELECT customer, customer::text FROM made",
        "INSERT INTO orders (id, instance_id, customer_id, subscription_id, plan_name, entitlement_version, trial, settings, state, confirmed_at, next_check_at)
         SELECT placed, instance, customer, subscription, 'basic-monthly', (SELECT max(version) FROM plan_entitlements WHERE plan_name = 'basic-monthly'),
                false, '{}', 'subscribed', now(), now() FROM made",
    ] {
        sqlx::query(statement).execute(&mut *tx).await?;
    }
    sqlx::query(
        "INSERT INTO subscriptions (id, order_id, customer_id, instance_id, plan_name, entitlement_version, billing_period, price_minor, currency, status,
             anchor_day, current_period_start, current_period_end, provider, provider_id, next_due_at)
         SELECT subscription, placed, customer, instance, 'basic-monthly', (SELECT max(version) FROM plan_entitlements WHERE plan_name = 'basic-monthly'),
                'monthly', 900, 'USD', 'active', 1, now() + $1::interval - interval '31 days', now() + $1::interval, 'ledger', subscription::text,
                now() + interval '50 years' FROM made",
    )
    .bind(period_end)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    sqlx::query("ANALYZE subscriptions").execute(books).await?;
    Ok(())
}

/// All of them become due at once: how long until each has its invoice, and how much memory it took.
pub async fn renewals(
    books: &PgPool,
    stack: &Stack,
    count: i32,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    say("renewal run");
    subscriptions(books, count, "-1 minute").await?;
    let before: i64 = invoices(books).await?;
    let start = Instant::now();
    sqlx::query(
        "UPDATE subscriptions SET next_due_at = NULL WHERE next_due_at > now() + interval '40 years'",
    )
    .execute(books)
    .await?;
    loop {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM subscriptions WHERE status <> 'ended' AND (next_due_at IS NULL OR \
             next_due_at <= now())",
        )
        .fetch_one(books)
        .await?;
        if open == 0 {
            break;
        }
        ensure!(start.elapsed() < PATIENCE, "{open} subscriptions are not renewed after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = start.elapsed();
    let issued = invoices(books).await? - before;
    ensure!(issued == i64::from(count), "{issued} invoices for {count} subscriptions");
    figures.add("subscriptions renewed", f64::from(count), "", None);
    figures.add("renewal run", took.as_secs_f64(), "s", (count == 10_000).then_some("< 60"));
    figures.add("renewals", f64::from(count) / took.as_secs_f64(), "1/s", None);
    figures.add("memory of billing-service at most", highest_memory(stack).await?, "MiB", Some("< 256"));
    Ok(())
}

async fn invoices(books: &PgPool) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM invoices").fetch_one(books).await?)
}

/// Sweeps with nothing to do: the longest of some.
pub async fn nothing_due(
    books: &PgPool,
    stack: &Stack,
    count: i32,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    say("sweeps with nothing due");
    subscriptions(books, count, "20 days").await?;
    let url =
        format!("{}/metrics", stack.services.get(BILLING).context("no HTTP address of billing-service")?);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let start = Instant::now();
    let (mut counted, mut longest) = (None, 0.0_f64);
    let mut seen = 0;
    while seen < SWEEPS {
        let page = client.get(&url).send().await?.error_for_status()?.text().await?;
        let now = metric(&page, "billing_sweeps_total")?;
        if counted.is_some_and(|counted| now > counted) {
            longest = longest.max(metric(&page, "billing_last_sweep_seconds")?);
            seen += 1;
        }
        counted = Some(now);
        ensure!(start.elapsed() < PATIENCE, "no sweeps");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    figures.add("subscriptions with nothing due", f64::from(count), "", None);
    figures.add(format!("longest of {SWEEPS} sweeps"), longest, "s", Some("< 2"));
    Ok(())
}

fn metric(page: &str, name: &str) -> anyhow::Result<f64> {
    let line = page
        .lines()
        .find(|line| line.split(' ').next() == Some(name))
        .with_context(|| format!("no metric {name}"))?;
    Ok(line.rsplit(' ').next().context("an empty line")?.parse()?)
}

/// The most resident memory that the process ever had.
async fn highest_memory(stack: &Stack) -> anyhow::Result<f64> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let parts: Value = client.get(&stack.control).send().await?.json().await?;
    let pid = parts[BILLING]["pid"].as_u64().context("no process of billing-service")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    Ok(kib.context("no VmHWM")? / 1024.0)
}
