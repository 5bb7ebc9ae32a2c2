//! Claims due operations, up to the limit of concurrency, and runs them (K8S-33). Waits hold no slot.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use instance::store::lease::{self, Claimed};
use telemetry::context::Headers;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::conclude;
use super::leases::Leases;
use super::metrics::Metrics;
use super::run::{Ended, Hold, Runner};
use super::wake::Wake;
use crate::worker::Worker;

/// Numbers of the engine.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Name of this worker in leases.
    pub owner: String,
    /// Operations in work at once.
    pub concurrency: usize,
    /// Life of a lease.
    pub lease: Duration,
    /// Longest time between two looks at the queue.
    pub sweep: Duration,
}

/// The engine of one worker.
#[derive(Debug)]
pub struct Engine {
    runner: Runner,
    tuning: Tuning,
    leases: Leases,
    wake: Wake,
    tasks: TaskTracker,
    hand_over: CancellationToken,
}

/// How long a stop waits for steps that are in work; their leases are given up all the same.
const DRAIN: Duration = Duration::from_secs(15);

impl Engine {
    /// Nothing runs yet.
    pub fn new(worker: Worker, tuning: Tuning, wake: Wake, metrics: Metrics) -> Self {
        let owner: Arc<str> = tuning.owner.as_str().into();
        Self {
            leases: Leases::new(Arc::clone(&owner), tuning.lease),
            runner: Runner { worker, owner, metrics },
            tuning,
            wake,
            tasks: TaskTracker::new(),
            hand_over: CancellationToken::new(),
        }
    }

    /// Runs until `stop`, then hands over.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let renewal_stop = CancellationToken::new();
        let renewal = tokio::spawn(
            self.leases.clone().renew(self.runner.worker.database.clone(), renewal_stop.clone()),
        );
        let outcome = self.claim_until(&stop, renewal).await;
        self.hand_over.cancel();
        self.tasks.close();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("operations were still in a step at the stop; another worker takes them over");
        }
        renewal_stop.cancel();
        let mut connection = self.runner.worker.database.acquire().await?;
        let given_up = lease::release_all(&mut connection, &self.tuning.owner).await?;
        tracing::info!(leases = given_up, "leases given up");
        outcome
    }

    async fn claim_until(
        &self,
        stop: &CancellationToken,
        renewal: tokio::task::JoinHandle<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let mut renewal = renewal.fuse();
        // A worker that comes back under its old name has no use for its old leases.
        self.forget_former_life().await;
        loop {
            let pause = match self.round().await {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "cannot look at the queue");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ended = &mut renewal => {
                    ended??;
                    anyhow::bail!("the renewal of leases ended");
                }
                () = self.wake.woken() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn forget_former_life(&self) {
        let outcome = async {
            let mut connection = self.runner.worker.database.acquire().await?;
            lease::release_all(&mut connection, &self.tuning.owner).await
        };
        match outcome.await {
            Ok(0) => {}
            Ok(leases) => tracing::info!(leases, "leases of a former life of this worker are free again"),
            Err(error) => tracing::warn!(error = %error, "leases of a former life end by themselves"),
        }
    }

    /// Claims what fits; the time until the next operation is due.
    async fn round(&self) -> anyhow::Result<Duration> {
        let database = &self.runner.worker.database;
        loop {
            let free = self.tuning.concurrency.saturating_sub(self.leases.count());
            if free == 0 {
                // The end of one wakes us.
                return Ok(self.tuning.sweep);
            }
            let mut tx = database.begin().await?;
            lease::wake_overdue(&mut tx).await?;
            let limit = i64::try_from(free)?;
            let claimed = lease::claim(&mut tx, &self.tuning.owner, self.leases.seconds(), limit).await?;
            for operation in &claimed {
                conclude::began(&mut tx, operation).await?;
            }
            tx.commit().await?;
            if claimed.is_empty() {
                let mut connection = database.acquire().await?;
                let due = lease::next_due(&mut connection).await?;
                self.runner.metrics.queue_depth.set(lease::queue_depth(&mut connection).await?);
                let wait = due.map_or(self.tuning.sweep, |due| {
                    let left = due - runtime::clock::now();
                    Duration::try_from(left).unwrap_or_default().max(Duration::from_millis(50))
                });
                return Ok(wait.min(self.tuning.sweep));
            }
            for operation in claimed {
                self.start(operation);
            }
        }
    }

    fn start(&self, operation: Claimed) {
        let id = operation.id;
        let kind = operation.kind;
        let hold = Hold { hand_over: self.hand_over.clone(), ..Hold::default() };
        self.leases.hold(id, hold.clone());
        self.runner.metrics.running.inc();
        let span = tracing::info_span!("operation", operation.id = %id, operation.kind = %kind,
            instance.id = %operation.instance_id, request.id = operation.request_id,
            trace.id = tracing::field::Empty, cause.trace.id = tracing::field::Empty);
        let cause: Headers = serde_json::from_value(operation.trace.clone()).unwrap_or_default();
        telemetry::context::link_to(&span, &cause);
        let (runner, leases, wake) = (self.runner.clone(), self.leases.clone(), self.wake.clone());
        let began = std::time::Instant::now();
        let work = async move {
            let outcome = std::panic::AssertUnwindSafe(runner.run(operation, hold)).catch_unwind().await;
            match outcome {
                Ok(Ok(Ended::Finished(word))) => {
                    tracing::info!(outcome = word, "operation ended");
                    runner.metrics.ended(kind, word, Some(began.elapsed().as_secs_f64()));
                }
                Ok(Ok(ended)) => tracing::debug!(?ended, "operation let go"),
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "operation is left to its next claim");
                    leases.let_go(&runner.worker.database, id).await;
                }
                Err(_) => tracing::error!("operation panicked; it is left until its lease ends"),
            }
            leases.forget(id);
            runner.metrics.running.dec();
            wake.now();
        };
        self.tasks.spawn(work.instrument(span));
    }
}
