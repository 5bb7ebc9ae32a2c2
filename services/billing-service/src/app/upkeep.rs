//! Old rows go, and so does what is known of persons who were erased. A fact tells of an erasure at once; once
//! a day everybody who was erased is asked for, so that a lost fact costs a day.

use std::time::{Duration as Pause, Instant};

use runtime::retention::prune;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::App;
use crate::error::Error;
use crate::store::retention::RETENTION;
use crate::store::{audits, erasure};

/// Between two looks.
const LOOK: Pause = Pause::from_mins(1);
/// Between two rounds of deleting.
const PRUNE: Pause = Pause::from_hours(1);
/// Name in the schedule, the time between two rounds, and after one that failed.
const NAME: &str = "erasure";
const EVERY: Duration = Duration::days(1);
const AGAIN: Duration = Duration::minutes(10);
/// Persons, or invoices, in one question.
const BATCH: u16 = 500;

/// Works until `stop`.
pub async fn run(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pruned: Option<Instant> = None;
    loop {
        if pruned.is_none_or(|last| last.elapsed() > PRUNE) {
            // A failure is in the log, and the next round tries again.
            prune(&app.pool, RETENTION).await.ok();
            pruned = Some(Instant::now());
        }
        let now = app.real_now().await;
        if let Err(error) = erase_due(&app, now).await {
            tracing::warn!(error = format!("{error:#}"), "erased persons cannot be asked for, trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Asks for all who were erased when that is due at `now`, in real time. `true`: it was, and was done here.
pub async fn erase_due(app: &App, now: OffsetDateTime) -> Result<bool, Error> {
    if !audits::claim(&app.pool, NAME, now, now + EVERY).await? {
        return Ok(false);
    }
    if let Err(error) = erase_all(app).await {
        audits::set_due(&app.pool, NAME, now + AGAIN).await?;
        return Err(error);
    }
    Ok(true)
}

async fn erase_all(app: &App) -> Result<(), Error> {
    let mut after = None;
    loop {
        let page = app.clients.erased_customers(after, BATCH).await.map_err(|status| {
            tracing::warn!(code = ?status.code(), "user-service cannot be asked now");
            Error::PeerAway("user-service")
        })?;
        for customer in erasure::open(&app.pool, &page).await? {
            forget(app, customer).await?;
        }
        if page.len() < usize::from(BATCH) {
            break;
        }
        after = page.last().copied();
    }
    while erasure::forget_buyers(&app.pool, BATCH.into()).await? == u64::from(BATCH) {}
    Ok(())
}

async fn forget(app: &App, customer: Uuid) -> Result<(), Error> {
    let mut tx = app.pool.begin().await?;
    erase(&mut tx, customer).await?;
    tx.commit().await?;
    tracing::info!(customer.id = %customer, "a person was erased");
    Ok(())
}

/// Forgets a person, in the transaction of the caller.
pub async fn erase(connection: &mut PgConnection, customer: Uuid) -> Result<(), Error> {
    Ok(erasure::forget(connection, customer).await?)
}
