//! What must happen without anybody asking (REL-04): purges after the retention, suspensions and their ends that waited, orders that were paid,
//! ended keys. Every replica sweeps; each effect is decided on the row as it is then, so two sweeps do no more than one.

use std::time::Duration;

use instance::domain::Action;
use instance::store::{idempotency, instances};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::app::act::{self, Wish};
use crate::app::who::Who;
use crate::app::{drain, move_database, subscriptions};
use crate::error::Error;

/// Pause between sweeps.
const PAUSE: Duration = Duration::from_mins(1);
/// Pause between rounds of drains, while one is open and else. Beginning one makes a round of its own.
const DRAINING: Duration = Duration::from_secs(2);
const NOT_DRAINING: Duration = Duration::from_secs(15);
/// Rows of each kind in one sweep.
const BATCH: i64 = 100;

/// Sweeps until the process stops. A failed sweep is told and repeated.
pub async fn run(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    let mut after = Uuid::nil();
    loop {
        if let Err(error) = once(&app).await {
            tracing::warn!(reason = error.reason(), error = format!("{error:#}"), "a sweep failed");
        }
        match follow_billing(&app, after).await {
            Ok(next) => after = next,
            Err(error) => {
                tracing::warn!(reason = error.reason(), error = format!("{error:#}"), "a sweep failed");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// Rounds of the drains of pools, until the process stops. Often while one is open, so that the next tenant follows soon.
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

/// One sweep.
pub async fn once(app: &App) -> Result<(), Error> {
    let now = runtime::clock::now();
    let mut connection = app.pool.acquire().await?;
    idempotency::clean(&mut connection, now).await?;
    let due = instances::due(&mut connection, now, BATCH).await?;
    let unpaid = instances::unpaid(&mut connection, BATCH).await?;
    drop(connection);
    each(app, &due.purge, Action::Purge).await;
    each(app, &due.suspend, Action::Suspend).await;
    each(app, &due.unsuspend, Action::Unsuspend).await;
    look_after(app, unpaid).await;
    move_database::begin_wished(app, BATCH).await
}

/// One page of the round over all live instances: what billing says of them, should its facts have been lost. Returns where the next page begins.
pub async fn follow_billing(app: &App, after: Uuid) -> Result<Uuid, Error> {
    let mut connection = app.pool.acquire().await?;
    let page = instances::live_after(&mut connection, after, BATCH).await?;
    drop(connection);
    let full = i64::try_from(page.len()).is_ok_and(|count| count == BATCH);
    let next = page.last().filter(|_| full).map_or_else(Uuid::nil, |(instance, _)| *instance);
    look_after(app, page).await;
    Ok(next)
}

async fn look_after(app: &App, page: Vec<(Uuid, Uuid)>) {
    for (instance, subscription) in page {
        if let Err(error) = subscriptions::look_after(app, instance, subscription).await {
            tracing::info!(instance.id = %instance, reason = error.reason(), "billing's word was not followed");
            if matches!(error, Error::Unavailable(_)) {
                break;
            }
        }
    }
}

async fn each(app: &App, ids: &[Uuid], action: Action) {
    let who = Who::platform();
    for id in ids {
        match act::act(app, &who, *id, action, &Wish::default()).await {
            Ok(acted) => {
                tracing::info!(instance.id = %id, action = %action, changed = acted.changed, "swept");
            }
            Err(error) => {
                tracing::info!(instance.id = %id, action = %action, reason = error.reason(), "not swept");
            }
        }
    }
}
