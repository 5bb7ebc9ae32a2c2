//! Facts of billing are followed here: each was kept in the transaction of its message, and waits until
//! billing has said how the subscription stands now. No transaction is open while billing is asked, and an
//! answer that does not come costs time, not the fact.

use std::time::Duration;

use futures::StreamExt as _;
use instance::store::news::{self, News};
use tokio_util::sync::CancellationToken;

use super::{App, subscriptions};
use crate::error::Error;

/// Between two looks without a notification.
const PAUSE: Duration = Duration::from_secs(5);
/// Facts that are taken at once.
const BATCH: i64 = 32;
/// Facts that are followed beside each other.
const BESIDE: usize = 4;

/// Follows until the process stops.
pub async fn run(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        let pause = match round(&app).await {
            Ok(taken) if i64::try_from(taken).is_ok_and(|taken| taken == BATCH) => Duration::ZERO,
            Ok(_) => PAUSE,
            Err(error) => {
                tracing::warn!(
                    reason = error.reason(),
                    error = format!("{error:#}"),
                    "cannot look at billing's news"
                );
                PAUSE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = app.wakeups.news() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Follows what is due; how many were taken.
pub async fn round(app: &App) -> Result<usize, Error> {
    let mut connection = app.pool.acquire().await?;
    let taken = news::take(&mut connection, BATCH).await?;
    drop(connection);
    let count = taken.len();
    futures::stream::iter(taken).for_each_concurrent(BESIDE, |news| one(app, news)).await;
    Ok(count)
}

async fn one(app: &App, news: News) {
    let followed = async {
        let reason = news.reason.as_deref();
        subscriptions::look_after(app, news.instance_id, news.subscription_id, reason).await?;
        let mut connection = app.pool.acquire().await?;
        news::followed(&mut connection, &news).await.map_err(Error::from)
    };
    if let Err(error) = followed.await {
        tracing::warn!(instance.id = %news.instance_id, reason = error.reason(), error = format!("{error:#}"),
            "billing's word is followed later");
    }
}
