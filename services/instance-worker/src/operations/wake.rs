//! What wakes the engine: NOTIFY of the database, messages, its own ends. All of them are hints; a timer stands behind them (REL-04).

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A wake-up that is never lost: it is remembered until somebody waits.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Wakes.
    pub fn now(&self) {
        self.0.notify_one();
    }

    /// Waits.
    pub async fn woken(&self) {
        self.0.notified().await;
    }
}

/// Passes notifications of `channel` on, until `stop`; reconnects for ever, and wakes after each reconnect.
pub async fn listen(
    database: PgPool,
    channel: &'static str,
    wake: Wake,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let session = async {
            let mut listener = PgListener::connect_with(&database).await?;
            listener.listen(channel).await?;
            wake.now();
            loop {
                listener.recv().await?;
                wake.now();
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = session => {
                let Err(error): Result<std::convert::Infallible, sqlx::Error> = ended;
                tracing::warn!(channel, error = %error, "lost the listening connection, trying again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
