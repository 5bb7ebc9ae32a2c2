//! Who waits for what: one task listens for NOTIFY and wakes the readers of operations and those who follow
//! billing's news; and how many streams an account may have open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use instance::domain::Operation;
use instance::store::news;
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Streams;
use crate::error::Error;

/// Notifications that a slow reader may lag behind; it then looks at once.
const BACKLOG: usize = 1024;

/// What followers of an operation have seen of it last.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Nothing yet.
    Nothing,
    /// It, at its newest revision.
    Operation(Box<Operation>),
    /// It could not be read.
    Failed,
}

/// Ids of operations that changed, their readers, and the seats of those who follow.
#[derive(Debug, Clone)]
pub struct Wakeups {
    pub(crate) changes: broadcast::Sender<Uuid>,
    news: Arc<Notify>,
    pub(crate) followed: Arc<Mutex<HashMap<Uuid, Arc<watch::Sender<Seen>>>>>,
    pub(crate) seats: Seats,
    pub(crate) stop: CancellationToken,
}

impl Wakeups {
    /// Readers end with `stop`, so that an open stream does not hold up the shutdown.
    pub fn new(limits: &Streams, stop: CancellationToken) -> Self {
        Self {
            changes: broadcast::Sender::new(BACKLOG),
            news: Arc::default(),
            followed: Arc::default(),
            seats: Seats { limits: *limits, taken: Arc::default() },
            stop,
        }
    }

    /// Returns when there may be news of billing.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Operations that are read at this moment.
    pub fn readers(&self) -> usize {
        lock(&self.followed).len()
    }

    /// Listens until the process stops; a lost connection is made anew.
    pub async fn run(self, pool: PgPool) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                outcome = self.listen(&pool) => {
                    let Err(error) = outcome;
                    tracing::warn!(error = %error, "lost the connection that listens, trying again");
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    async fn listen(&self, pool: &PgPool) -> sqlx::Result<std::convert::Infallible> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen_all(["operations", news::CHANNEL]).await?;
        loop {
            let notification = listener.recv().await?;
            if notification.channel() == news::CHANNEL {
                self.news.notify_one();
            } else if let Ok(id) = notification.payload().parse() {
                // Nobody follows: then nobody needs to know.
                let _ = self.changes.send(id);
            }
        }
    }
}

/// A poisoned lock only means that a test panicked.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Open streams by account.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    limits: Streams,
    taken: Arc<Mutex<HashMap<String, usize>>>,
}

/// One open stream; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    taken: Arc<Mutex<HashMap<String, usize>>>,
    account: String,
}

impl Seats {
    /// A seat for one more stream of the account.
    pub(crate) fn take(&self, account: &str) -> Result<Seat, Error> {
        let mut taken = lock(&self.taken);
        let own = taken.get(account).copied().unwrap_or(0);
        if own >= self.limits.max_streams_per_account
            || taken.values().sum::<usize>() >= self.limits.max_streams
        {
            return Err(Error::TooManyStreams);
        }
        taken.insert(account.to_owned(), own + 1);
        Ok(Seat { taken: Arc::clone(&self.taken), account: account.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&self.account) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.account)),
        }
    }
}
