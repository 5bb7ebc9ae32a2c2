//! What is done from time to time: old rows go, and so does what is kept of erased persons, also when the event
//! of it was lost.

use std::time::Duration;

use anyhow::Context as _;
use runtime::retention::prune;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::app;
use crate::clients::Customers;
use crate::store::{RETENTION, clear_secrets};

/// Between two rounds.
const ROUND: Duration = Duration::from_mins(5);
/// Rounds between two readings of the list of erased persons: a day.
const ERASURES: u32 = 24 * 12;

/// Runs until `stop`.
pub async fn run(pool: PgPool, customers: Customers, stop: CancellationToken) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut until_erasures = 0_u32;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = tick.tick() => {}
        }
        if let Err(error) = clear_secrets(&pool).await {
            tracing::warn!(error = %error, "secrets of failed mails cannot be cleared");
        }
        if let Err(error) = prune(&pool, RETENTION).await {
            tracing::warn!(error = %error, "old rows cannot be deleted");
        }
        if until_erasures == 0 {
            match erase_all(&pool, &customers).await {
                Ok(()) => until_erasures = ERASURES,
                // Again in the next round.
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "erased persons are not erased here yet");
                    continue;
                }
            }
        }
        until_erasures -= 1;
    }
}

/// Erases everybody whom user-service has erased.
pub async fn erase_all(pool: &PgPool, customers: &Customers) -> anyhow::Result<()> {
    let mut after = None;
    loop {
        let page = customers.erased_after(after).await.context("the list of erased persons")?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(*last);
        let mut connection = pool.acquire().await?;
        app::erase(&mut connection, &page).await?;
    }
}
