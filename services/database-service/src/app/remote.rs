//! How much work goes on at tenants' servers at once: a bounded number of pieces, each with a connection for its
//! tenant's lock; and no server has all of them, so that one that hangs keeps no other waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::error::Error;

/// Longest piece of work that nobody waits for. Far above what one takes: a machine that goes down during a
/// statement closes no connection, and what waits for it holds up all that comes after.
const PIECE: Duration = Duration::from_mins(5);

/// Work at a tenant's server that nobody waits for. It may be repeated, like all of it.
pub(crate) async fn bounded<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = |_| Error::Internal(anyhow::anyhow!("a server did not do its work within {PIECE:?}"));
    tokio::time::timeout(PIECE, work).await.map_err(late)?
}

/// Connections for the locks of tenants: as many as there may be pieces of work.
pub(crate) fn locks(pool: &PgPool, pieces: usize) -> PgPool {
    PgPoolOptions::new()
        .max_connections(u32::try_from(pieces.max(1)).unwrap_or(u32::MAX))
        .acquire_timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_mins(1))
        .max_lifetime(Duration::from_mins(30))
        .connect_lazy_with(PgConnectOptions::clone(&pool.connect_options()))
}

/// Permits for work at tenants' servers.
#[derive(Debug)]
pub(crate) struct Remote {
    all: Arc<Semaphore>,
    share: usize,
    each: Mutex<HashMap<Uuid, Arc<Semaphore>>>,
}

/// May work at a server until it goes.
#[derive(Debug)]
pub(crate) struct Permit {
    _one: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Remote {
    /// So many at once, and at one server all but a third of them.
    pub(crate) fn new(all: usize) -> Self {
        let share = (all - all / 3).max(1);
        Self { all: Arc::new(Semaphore::new(all.max(1))), share, each: Mutex::default() }
    }

    /// Waits for the server's turn first: who waits for a server that hangs holds nothing that others need.
    pub(crate) async fn permit(&self, server: Uuid) -> Result<Permit, Error> {
        let closed = |error: tokio::sync::AcquireError| Error::Internal(error.into());
        let one = {
            let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(each.entry(server).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
        };
        let one = one.acquire_owned().await.map_err(closed)?;
        let all = Arc::clone(&self.all).acquire_owned().await.map_err(closed)?;
        Ok(Permit { _one: one, _all: all })
    }

    /// The server is gone.
    pub(crate) fn forget(&self, server: Uuid) {
        self.each.lock().unwrap_or_else(PoisonError::into_inner).remove(&server);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_never_ends_is_left() {
        let outcome = bounded(std::future::pending::<Result<(), Error>>()).await;
        assert!(matches!(outcome, Err(Error::Internal(_))));
        assert_eq!(bounded(async { Ok::<_, Error>(7) }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_server_that_hangs_keeps_no_other_waiting() {
        let remote = Remote::new(5);
        let (hangs, other) = (Uuid::now_v7(), Uuid::now_v7());
        let mut held = Vec::new();
        while let Some(permit) = remote.permit(hangs).now_or_never() {
            held.push(permit.unwrap());
            assert!(held.len() < 5, "one server has all of it");
        }
        assert!(remote.permit(other).now_or_never().is_some());
        held.pop();
        assert!(remote.permit(hangs).now_or_never().is_some());
    }
}
