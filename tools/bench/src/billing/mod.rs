//! `billing`: orders against the same statements in one bare transaction in the same run; messages of payment
//! providers against bare rows; renewals; the sweep when nothing is due. On a stack with Kill Bill: orders
//! against its own calls, and its hooks.

mod bare;
mod hooks;
mod orders;
mod remote;
mod runs;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use e2e::Stack;
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use self::hooks::Sender;
use crate::clock::{many, timed};
use crate::figures::{Figures, percentile, say};

/// Longest wait for a run.
const PATIENCE: Duration = Duration::from_mins(10);

/// Options.
#[derive(Debug, Args)]
pub struct Settings {
    /// Orders that are placed one after the other, by the platform and bare
    #[arg(long, default_value_t = 300)]
    followed: usize,
    /// Orders that are placed in parallel, by the platform and bare
    #[arg(long, default_value_t = 2000)]
    parallel: usize,
    /// How many at once
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// Messages of each payment provider, by the platform and bare
    #[arg(long, default_value_t = 5000)]
    hooks: usize,
    /// Subscriptions of the renewal run
    #[arg(long, default_value_t = 10_000)]
    renewals: i32,
    /// Subscriptions for which nothing is due
    #[arg(long, default_value_t = 100_000)]
    idle: i32,
}

/// Runs all parts.
pub async fn run(settings: &Settings, stack: &Stack, file: &Path) -> anyhow::Result<Figures> {
    let mut figures = Figures::new("billing");
    let books = books(stack).await?;
    let place = (&books, stack, file);
    if !stack.killbill.is_empty() {
        // A server of Java is no match for bare SQL: fewer say enough.
        let size = (settings.followed.div_ceil(3), settings.parallel.div_ceil(4), settings.concurrency);
        remote::run(size, stack, file, &mut figures).await?;
        hooks::run(Sender::Killbill, settings.hooks, settings.concurrency, place, &mut figures).await?;
        return Ok(figures);
    }

    say("orders, one by one");
    let desk = orders::Desk::connect(stack, file)?;
    for _ in 0..20 {
        desk.order().await?;
        bare::order(&books).await?;
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..settings.followed {
        // In turns, so that both meet the same machine.
        ours.push(timed(desk.order()).await?);
        theirs.push(timed(bare::order(&books)).await?);
    }
    figures.add_times("order", &ours, [None, None]);
    figures.add_times("bare transaction", &theirs, [None, None]);
    let ratio = percentile(&ours, 0.5).as_secs_f64() / percentile(&theirs, 0.5).as_secs_f64();
    figures.add("order over bare, p50", ratio, "×", None);

    say("orders, in parallel");
    let (whole, times) = many(settings.parallel, settings.concurrency, || desk.order()).await?;
    let (bare_whole, bare_times) =
        many(settings.parallel, settings.concurrency, || bare::order(&books)).await?;
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let count = settings.parallel as f64;
    figures.add("orders", count / whole.as_secs_f64(), "1/s", None);
    figures.add("bare transactions", count / bare_whole.as_secs_f64(), "1/s", None);
    figures.add("orders over bare", bare_whole.as_secs_f64() / whole.as_secs_f64(), "×", None);
    figures.add_times("order in parallel", &times, [None, None]);
    figures.add_times("bare in parallel", &bare_times, [None, None]);

    hooks::run(Sender::Paynow, settings.hooks, settings.concurrency, place, &mut figures).await?;
    runs::renewals(&books, stack, settings.renewals, &mut figures).await?;
    runs::nothing_due(&books, stack, settings.idle, &mut figures).await?;
    proof(&books).await?;
    Ok(figures)
}

/// The secrets of the stack, which lie beside its file.
fn secrets(stack_file: &Path) -> anyhow::Result<Value> {
    let path = stack_file.with_file_name("secrets.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// The database of billing, by the superuser of the stack.
async fn books(stack: &Stack) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = stack.database_url.parse().context("database_url of the stack")?;
    Ok(PgPoolOptions::new().max_connections(16).connect_with(options.database("billing")).await?)
}

/// Figures of books that are wrong would say nothing.
async fn proof(books: &PgPool) -> anyhow::Result<()> {
    let unbalanced: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT FROM journal_lines GROUP BY entry_id, currency HAVING \
         sum(amount_minor) <> 0) AS bad",
    )
    .fetch_one(books)
    .await?;
    let gaps: i64 = sqlx::query_scalar("SELECT coalesce(max(sequence), 0) - count(sequence) FROM invoices")
        .fetch_one(books)
        .await?;
    ensure!(
        unbalanced == 0 && gaps == 0,
        "the books are wrong: {unbalanced} unbalanced entries, {gaps} missing numbers"
    );
    Ok(())
}
