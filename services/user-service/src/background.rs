//! Work that nobody waits for: sending mails, terminating the instances of closed accounts, erasing, cleaning
//! up.
//!
//! Each loop is woken at once and also runs by a timer; it takes no input, so that a lost signal costs
//! latency only. Every replica runs all.

use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::error::Error;
use crate::store;

/// Timer behind the signals.
const SWEEP: Duration = Duration::from_secs(2);
/// Timer of what has no signal.
const CLEAN: Duration = Duration::from_mins(5);

/// Sends mails until `stop`.
pub async fn mails(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    repeat("mails", &app.wake.mails, SWEEP, &stop, || app.send_due_mails()).await;
    Ok(())
}

/// Terminates instances of closed accounts until `stop`.
pub async fn closures(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    repeat("closures", &app.wake.closures, SWEEP, &stop, || app.work_closures()).await;
    Ok(())
}

/// Erases persons and removes old rows until `stop`.
pub async fn cleaning(app: App, stop: CancellationToken) -> anyhow::Result<()> {
    repeat("cleaning", &Notify::new(), CLEAN, &stop, || clean(&app)).await;
    Ok(())
}

/// One round of cleaning.
pub async fn clean(app: &App) -> Result<usize, Error> {
    runtime::retention::prune(&app.pool, store::retention::RETENTION).await?;
    let (mut looked, mut failed) = (0, Vec::new());
    while app.erase_next(&mut failed).await? {
        looked += 1;
    }
    Ok(looked - failed.len())
}

/// Runs `work` again and again: at once while there is more, else when woken or after `period`. A failure is
/// logged and tried again.
async fn repeat<F, Fut>(
    name: &'static str,
    wake: &Notify,
    period: Duration,
    stop: &CancellationToken,
    work: F,
) where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<usize, Error>>,
{
    while !stop.is_cancelled() {
        match work().await {
            Ok(0) => {}
            Ok(_) => continue,
            Err(Error::Internal(error)) => {
                tracing::error!(
                    task = name,
                    error = format!("{error:#}"),
                    "background work failed, trying again"
                );
            }
            Err(error) => tracing::warn!(task = name, error = %error, "background work failed, trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = wake.notified() => {}
            () = tokio::time::sleep(period) => {}
        }
    }
}
