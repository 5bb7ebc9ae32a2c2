//! The leases that this worker holds: renewed at a third of their life, given up at the stop (REL-16).

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use instance::store::lease;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::run::Hold;

/// Held operations.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    owner: Arc<str>,
    life: Duration,
    held: Arc<Mutex<HashMap<Uuid, Hold>>>,
}

impl Leases {
    pub(super) fn new(owner: Arc<str>, life: Duration) -> Self {
        Self { owner, life, held: Arc::default() }
    }

    /// Seconds for SQL.
    pub(super) fn seconds(&self) -> f64 {
        self.life.as_secs_f64()
    }

    pub(super) fn hold(&self, id: Uuid, hold: Hold) {
        self.lock().insert(id, hold);
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.lock().remove(&id);
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Gives one lease up after the database had failed: it may need some seconds to come back. Else the lease ends by itself.
    pub(super) async fn let_go(&self, database: &PgPool, id: Uuid) {
        let until = Instant::now() + self.life;
        while Instant::now() < until {
            let released = async {
                let mut connection = database.acquire().await?;
                lease::release(&mut connection, &self.owner, id).await
            };
            let released: sqlx::Result<bool> = released.await;
            if released.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Hold>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews until `stop`. A lease that could not be renewed in its life is lost, whatever the database thinks.
    pub(super) async fn renew(self, database: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
        let mut renewed_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(self.life / 3) => {}
            }
            let ids: Vec<Uuid> = self.lock().keys().copied().collect();
            if ids.is_empty() {
                renewed_at = Instant::now();
                continue;
            }
            let asked_at = Instant::now();
            match self.renew_once(&database, &ids).await {
                Ok(()) => renewed_at = asked_at,
                Err(error) => {
                    tracing::warn!(error = %error, "leases could not be renewed");
                    if renewed_at.elapsed() > self.life {
                        for hold in self.lock().values() {
                            hold.lost.cancel();
                        }
                    }
                }
            }
        }
    }

    async fn renew_once(&self, database: &PgPool, ids: &[Uuid]) -> sqlx::Result<()> {
        let mut connection = database.acquire().await?;
        let renewed = lease::renew(&mut connection, &self.owner, ids, self.seconds()).await?;
        let held = self.lock();
        for id in ids {
            let Some(hold) = held.get(id) else { continue };
            match renewed.iter().find(|renewed| renewed.id == *id) {
                None => hold.lost.cancel(),
                Some(renewed) => hold.cancel.store(renewed.cancel_requested, Ordering::SeqCst),
            }
        }
        Ok(())
    }
}
