//! What must happen without anybody asking (REL-04): whatever a row wants and is not so, orders that were
//! paid, ended keys. Each sweep goes through all that is due, and each round over all that billing pays for:
//! nothing waits behind what cannot be done. Every replica sweeps; each effect is decided on the row as it is
//! then, so two sweeps do no more than one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use instance::domain::Action;
use instance::store::instances::Due;
use instance::store::{claims, closed, idempotency, instances};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::app::act::{self, Wish};
use crate::app::who::Who;
use crate::app::{admin, drain, move_database, subscriptions};
use crate::error::Error;

/// Pause between sweeps.
const PAUSE: Duration = Duration::from_mins(1);
/// Pause between rounds of drains, while one is open and else. Beginning one makes a round of its own.
const DRAINING: Duration = Duration::from_secs(2);
const NOT_DRAINING: Duration = Duration::from_secs(15);
/// Between two pages of the round over all live instances: ten thousand are asked for within four minutes.
const NEXT_PAGE: Duration = Duration::from_secs(2);
/// Rows of a page.
const BATCH: i64 = 100;
/// Instances that billing is asked for beside each other.
const BESIDE: usize = 8;

/// Sweeps until the process stops. A failed sweep is told and repeated.
pub async fn run(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        told("a sweep failed", once(&app).await);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Rounds over all live instances, until the process stops: page by page, and a pause after the last one.
pub async fn rounds(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    let mut after = Uuid::nil();
    loop {
        if let Some(next) =
            told("a page of the round over all instances failed", follow_billing(&app, after).await)
        {
            after = next;
        }
        let pause = if after.is_nil() { PAUSE } else { NEXT_PAGE };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn told<T>(what: &str, outcome: Result<T, Error>) -> Option<T> {
    outcome
        .inspect_err(|error| tracing::warn!(reason = error.reason(), error = format!("{error:#}"), "{what}"))
        .ok()
}

/// Rounds of the drains of pools, until the process stops. Often while one is open, so that the next tenant
/// follows soon.
pub async fn drains(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let pause = match drain::round(&app, runtime::clock::now()).await {
            Ok(true) => DRAINING,
            Ok(false) => NOT_DRAINING,
            Err(error) => {
                tracing::warn!(
                    reason = error.reason(),
                    error = format!("{error:#}"),
                    "a round of the drains failed"
                );
                NOT_DRAINING
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One sweep. What hinders one part of it hinders no other.
pub async fn once(app: &App) -> Result<(), Error> {
    // By the database's clock: a replica whose own is ahead must not purge what may still be brought back.
    let now =
        runtime::clock::now() + runtime::database::clock_offset(&app.pool).await.map_err(Error::Internal)?;
    let mut connection = app.pool.acquire().await?;
    idempotency::clean(&mut connection, now).await?;
    claims::clean(&mut connection, now).await?;
    closed::clean(&mut connection, now).await?;
    drop(connection);
    told("a sweep of what is due failed", due(app, now).await);
    let mut connection = app.pool.acquire().await?;
    let unpaid = instances::unpaid(&mut connection, BATCH).await?;
    drop(connection);
    look_after(app, unpaid).await;
    move_database::begin_wished(app, BATCH).await
}

/// All that rows want and that is not so.
async fn due(app: &App, now: OffsetDateTime) -> Result<(), Error> {
    let who = Who::platform();
    let mut after = Uuid::nil();
    loop {
        let mut connection = app.pool.acquire().await?;
        let page = instances::due(&mut connection, now, after, BATCH).await?;
        drop(connection);
        for Due { id, action } in &page {
            let acted = match action {
                Action::Retry => admin::retry(app, &who, *id, None).await,
                action => act::act(app, &who, *id, *action, &Wish::default()).await,
            };
            match acted {
                Ok(acted) => {
                    tracing::info!(instance.id = %id, action = %action, changed = acted.changed, "swept");
                }
                Err(error) => {
                    tracing::info!(instance.id = %id, action = %action, reason = error.reason(), "not swept");
                }
            }
        }
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|count| count == BATCH) => after = last.id,
            _ => return Ok(()),
        }
    }
}

/// One page of the round over all live instances: what billing says of them, should its facts have been lost.
/// Returns where the next page begins.
pub async fn follow_billing(app: &App, after: Uuid) -> Result<Uuid, Error> {
    let mut connection = app.pool.acquire().await?;
    let page = instances::live_after(&mut connection, after, BATCH).await?;
    drop(connection);
    let full = i64::try_from(page.len()).is_ok_and(|count| count == BATCH);
    let next = page.last().filter(|_| full).map_or_else(Uuid::nil, |(instance, _)| *instance);
    look_after(app, page).await;
    Ok(next)
}

/// A billing that is away is not asked for the rest of the page.
async fn look_after(app: &App, page: Vec<(Uuid, Uuid)>) {
    let away = AtomicBool::new(false);
    let away = &away;
    futures::stream::iter(page)
        .for_each_concurrent(BESIDE, |(instance, subscription)| async move {
            if away.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = subscriptions::look_after(app, instance, subscription, None).await {
                tracing::info!(instance.id = %instance, reason = error.reason(), "billing's word was not followed");
                if matches!(error, Error::Unavailable(_)) {
                    away.store(true, Ordering::Relaxed);
                }
            }
        })
        .await;
}
