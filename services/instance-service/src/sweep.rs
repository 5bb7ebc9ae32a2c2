//! What must happen without anybody asking (REL-04): whatever a row wants and is not so, orders that were
//! paid, ended keys. Each sweep goes through all that is due, and each round over all that billing pays for:
//! nothing waits behind what cannot be done. Every replica sweeps; each effect is decided on the row as it is
//! then, so two sweeps do no more than one.

use std::time::{Duration, Instant};

use instance::domain::Action;
use instance::store::events::{self, Cause};
use instance::store::instances::Due;
use instance::store::{self, consents, instances};
use runtime::retention;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::app::act::{self, ActionRequest};
use crate::app::caller::Caller;
use crate::app::{admin, drain, erase, move_database, subscriptions};
use crate::error::Error;
use crate::retention::RETENTION;

/// Pause between sweeps.
const PAUSE: Duration = Duration::from_mins(1);
/// Pause between rounds of drains, while one is open and else. Beginning one makes a round of its own.
const DRAINING: Duration = Duration::from_secs(2);
const NOT_DRAINING: Duration = Duration::from_secs(15);
/// Between two pages of the round over all live instances: ten thousand are asked for within four minutes.
const NEXT_PAGE: Duration = Duration::from_secs(2);
/// Between two rounds over all persons who were erased, and after one that failed.
const ERASURES: Duration = Duration::from_hours(24);
const ERASURES_AGAIN: Duration = Duration::from_mins(10);
/// Rows of a page.
const BATCH: i64 = 100;

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
    let (mut after, mut began) = (Uuid::nil(), Instant::now());
    loop {
        if after.is_nil() {
            began = Instant::now();
        }
        let next = told("a page of the round over all instances failed", follow_billing(&app, after).await);
        if let Some(next) = next {
            after = next;
            if after.is_nil() {
                app.metrics.went_round(began.elapsed());
            }
        }
        let pause = if after.is_nil() { PAUSE } else { NEXT_PAGE };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Rounds over the persons who were erased, until the process stops.
pub async fn erasures(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let done = told("persons who were erased are not erased here yet", erase::round(&app).await);
        let pause = if done.is_some() { ERASURES } else { ERASURES_AGAIN };
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
        let pause = match drain::round(&app).await {
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
    let began = Instant::now();
    let pruned = retention::prune(&app.pool, RETENTION).await;
    told("old rows were not removed", pruned.map_err(Error::from));
    told("a sweep of what is due failed", due(app).await);
    told("a sweep of kept data failed", tell_of_kept_data(app).await);
    told("a sweep of unpaid instances failed", unpaid(app).await);
    let moved = move_database::begin_wished(app, BATCH).await;
    let awaiting = told("kept data was not counted", awaiting_consent(app).await);
    app.metrics.swept(began.elapsed(), awaiting);
    moved
}

async fn awaiting_consent(app: &App) -> Result<i64, Error> {
    let mut connection = app.pool.acquire().await?;
    Ok(consents::awaiting(&mut connection).await?)
}

async fn unpaid(app: &App) -> Result<(), Error> {
    let mut connection = app.pool.acquire().await?;
    let unpaid = instances::unpaid(&mut connection, BATCH).await?;
    drop(connection);
    subscriptions::look_after_all(app, &unpaid).await
}

/// Data whose retention has passed stays until somebody says that it may go (INS-26): the timeline tells it
/// once, and the log in each sweep that finds more.
async fn tell_of_kept_data(app: &App) -> Result<(), Error> {
    let mut tx = app.pool.begin().await?;
    let now = store::now(&mut tx).await?;
    let kept = consents::untold(&mut tx, BATCH).await?;
    for id in &kept {
        let text =
            "the retention has passed; the data is kept until you or an administrator agree to its removal";
        events::add(&mut tx, *id, "purge_awaits_consent", Cause::Platform, text, None, now).await?;
        tracing::warn!(instance.id = %id, "the retention has passed; the data waits for a word that it may go");
    }
    Ok(tx.commit().await?)
}

/// All that rows want and that is not so.
async fn due(app: &App) -> Result<(), Error> {
    let caller = Caller::platform();
    let mut after = Uuid::nil();
    loop {
        let mut connection = app.pool.acquire().await?;
        // By the database's clock: a replica whose own is ahead must not purge what may still be brought
        // back.
        let now = store::now(&mut connection).await?;
        let page = instances::due(&mut connection, now, after, BATCH).await?;
        drop(connection);
        for Due { id, action } in &page {
            let acted = match action {
                Action::Retry => admin::retry(app, &caller, *id, None).await,
                action => act::act(app, &caller, *id, *action, &ActionRequest::default()).await,
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
    let next = page.last().filter(|_| full).map_or_else(Uuid::nil, |last| last.id);
    // A billing that is away is asked for the next page; this one is looked after in the next round.
    told("billing was not asked", subscriptions::look_after_all(app, &page).await);
    Ok(next)
}
