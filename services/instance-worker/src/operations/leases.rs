//! The leases that this worker holds: renewed at a third of their life, given up at the stop (REL-16). A
//! lease that could not be renewed in its life is lost by this process's own clock, whatever the database
//! thinks: after a pause of either, nobody goes on with a run that another worker may have begun.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use instance::store::lease::{self, Lease};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::runner::Hold;

/// One claim in hand.
#[derive(Debug)]
struct Held {
    hold: Hold,
    token: Uuid,
    /// Nobody else has it until then.
    good_until: Instant,
}

/// Held operations.
#[derive(Debug, Clone)]
pub(super) struct Leases {
    owner: Arc<str>,
    life: Duration,
    held: Arc<Mutex<HashMap<Uuid, Held>>>,
}

impl Leases {
    pub(super) fn new(owner: Arc<str>, life: Duration) -> Self {
        Self { owner, life, held: Arc::default() }
    }

    /// Seconds for SQL.
    pub(super) fn seconds(&self) -> f64 {
        self.life.as_secs_f64()
    }

    /// A claim that was asked for at `asked_at`: its life began then or later.
    pub(super) fn hold(&self, lease: &Lease, asked_at: Instant, hold: Hold) {
        let held = Held { hold, token: lease.token, good_until: self.good_until(asked_at) };
        self.lock().insert(lease.id, held);
    }

    /// Forgets this claim, and no later one of the same operation.
    pub(super) fn forget(&self, lease: &Lease) {
        let mut held = self.lock();
        if held.get(&lease.id).is_some_and(|held| held.token == lease.token) {
            held.remove(&lease.id);
        }
    }

    /// Operations that are still run here.
    pub(super) fn in_hand(&self) -> Vec<Uuid> {
        self.lock().keys().copied().collect()
    }

    /// Their claims.
    pub(super) fn tokens(&self) -> Vec<Uuid> {
        self.lock().values().map(|held| held.token).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Ends every run at once.
    pub(super) fn lose_all(&self) {
        for held in self.lock().values() {
            held.hold.lost.cancel();
        }
    }

    /// Gives one lease up after the database had failed: it may need some seconds to come back. Else the
    /// lease ends by itself.
    pub(super) async fn let_go(&self, database: &PgPool, lease: &Lease) {
        let until = Instant::now() + self.life;
        while Instant::now() < until {
            let released = async {
                let mut connection = database.acquire().await?;
                lease::release(&mut connection, lease).await
            };
            let released: sqlx::Result<bool> = released.await;
            if released.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A tenth of the life is left for a step that notices its end a moment later.
    fn good_until(&self, asked_at: Instant) -> Instant {
        asked_at + self.life * 9 / 10
    }

    /// Renews until `stop`. A renewal has a deadline too: one that hangs is as good as one that fails.
    pub(super) async fn renew(self, database: PgPool, stop: CancellationToken) -> anyhow::Result<()> {
        let mut pause = self.life / 3;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            self.drop_ended();
            pause = self.life / 3;
            let Some(left) = self.shortest() else { continue };
            let renewed = tokio::time::timeout(left.min(self.life / 3), self.renew_once(&database)).await;
            let failure = match renewed {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the database did not answer in time".to_owned(),
            };
            tracing::warn!(error = failure, "leases could not be renewed");
            pause = self.life / 20;
        }
    }

    /// Time until the first lease ends; `None`: there is none. One that is lost already, and whose run is being
    /// ended, leaves the others their time.
    fn shortest(&self) -> Option<Duration> {
        let now = Instant::now();
        let held = self.lock();
        let kept = held.values().filter(|held| !held.hold.lost.is_cancelled());
        kept.map(|held| held.good_until.saturating_duration_since(now)).min()
    }

    /// Ends the runs whose leases were not renewed in time.
    fn drop_ended(&self) {
        let now = Instant::now();
        for (id, held) in self.lock().iter().filter(|(_, held)| held.good_until <= now) {
            if !held.hold.lost.is_cancelled() {
                tracing::warn!(operation.id = %id, "a lease ended before it was renewed; its run stops");
            }
            held.hold.lost.cancel();
        }
    }

    async fn renew_once(&self, database: &PgPool) -> sqlx::Result<()> {
        let (asked_at, tokens) = (Instant::now(), self.tokens());
        let mut connection = database.acquire().await?;
        let renewed = lease::renew(&mut connection, &self.owner, &tokens, self.seconds()).await?;
        let good_until = self.good_until(asked_at);
        for held in self.lock().values_mut().filter(|held| tokens.contains(&held.token)) {
            match renewed.iter().find(|renewed| renewed.token == held.token) {
                None => held.hold.lost.cancel(),
                Some(renewed) => {
                    held.good_until = good_until;
                    held.hold.cancel.store(renewed.cancel_requested, Ordering::SeqCst);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgPoolOptions;

    use super::*;

    const LIFE: Duration = Duration::from_millis(300);

    fn lease(owner: &Arc<str>) -> Lease {
        Lease { id: Uuid::from_u128(1), owner: Arc::clone(owner), token: Uuid::new_v4() }
    }

    /// REL-16: a run whose lease nobody could renew ends before another worker may begin it.
    #[tokio::test]
    async fn a_lease_that_is_not_renewed_ends_its_run_in_time() {
        // Nobody answers there, and no error comes in time either.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://u@{}/d", silent.local_addr().unwrap());
        let database = PgPoolOptions::new().connect_lazy(&url).unwrap();
        let owner: Arc<str> = "w".into();
        let leases = Leases::new(Arc::clone(&owner), LIFE);
        let (hold, asked_at) = (Hold::default(), Instant::now());
        leases.hold(&lease(&owner), asked_at, hold.clone());
        let renewal = tokio::spawn(leases.renew(database, CancellationToken::new()));

        hold.lost.cancelled().await;

        assert!(asked_at.elapsed() <= LIFE, "{:?}", asked_at.elapsed());
        renewal.abort();
    }

    /// REL-01: the end of an older claim takes nothing from a newer one.
    #[test]
    fn an_older_claim_does_not_forget_a_newer_one() {
        let owner: Arc<str> = "w".into();
        let leases = Leases::new(Arc::clone(&owner), LIFE);
        let (older, newer) = (lease(&owner), lease(&owner));
        leases.hold(&newer, Instant::now(), Hold::default());
        leases.forget(&older);
        assert_eq!(leases.in_hand(), [newer.id]);
        leases.forget(&newer);
        assert_eq!(leases.count(), 0);
    }
    /// REL-16: a run that is lost already, and only on its way out, does not hurry the renewal of the others.
    #[tokio::test(start_paused = true)]
    async fn the_lease_that_ends_first_counts_unless_its_run_is_lost() {
        let owner: Arc<str> = "w".into();
        let leases = Leases::new(Arc::clone(&owner), LIFE);
        assert_eq!(leases.shortest(), None);
        let lease = |id: u128| Lease { id: Uuid::from_u128(id), ..lease(&owner) };
        let (older, newer) = (Hold::default(), Hold::default());
        leases.hold(&lease(1), Instant::now(), older.clone());
        tokio::time::advance(LIFE * 4 / 10).await;
        leases.hold(&lease(2), Instant::now(), newer.clone());

        assert_eq!(leases.shortest(), Some(LIFE * 5 / 10));
        older.lost.cancel();
        assert_eq!(leases.shortest(), Some(LIFE * 9 / 10));
        newer.lost.cancel();
        assert_eq!(leases.shortest(), None);
    }
}
