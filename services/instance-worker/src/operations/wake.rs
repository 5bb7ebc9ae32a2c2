//! What wakes the engine: NOTIFY of the database, messages, its own ends. All of them are hints; a timer
//! stands behind them (REL-04).

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

/// Passes notifications on to those who wait for their channel, until `stop`; reconnects for ever, and wakes
/// all after each reconnect.
pub async fn listen(
    database: PgPool,
    wakes: Vec<(&'static str, Wake)>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let session = async {
            let mut listener = PgListener::connect_with(&database).await?;
            listener.listen_all(wakes.iter().map(|(channel, _)| *channel)).await?;
            for (_, wake) in &wakes {
                wake.now();
            }
            loop {
                let notification = listener.recv().await?;
                for (_, wake) in wakes.iter().filter(|(channel, _)| *channel == notification.channel()) {
                    wake.now();
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = session => {
                let Err(error): Result<std::convert::Infallible, sqlx::Error> = ended;
                tracing::warn!(error = %error, "lost the listening connection, trying again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
