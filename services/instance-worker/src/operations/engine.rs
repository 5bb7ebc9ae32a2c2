//! Claims due operations, up to the limit of concurrency, and runs them (K8S-33). Waits hold no slot.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use instance::store::lease::{self, Claimant, Claimed, Lease, Unreadable};
use telemetry::context::Headers;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::leases::Leases;
use super::metrics::Metrics;
use super::name::Name;
use super::pauses::Pauses;
use super::runner::{Ended, Hold, Runner};
use super::wake::Wake;
use super::{conclude, kinds};
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
    /// Between the tries of a step.
    pub pauses: Pauses,
}

/// The engine of one worker.
#[derive(Debug)]
pub struct Engine {
    owner: Arc<str>,
    runner: Runner,
    tuning: Tuning,
    leases: Leases,
    wake: Wake,
    tasks: TaskTracker,
    hand_over: CancellationToken,
    /// What this release can do.
    kinds: Vec<String>,
}

/// How long a stop waits for steps that are in work; then they are cut off.
const DRAIN: Duration = Duration::from_secs(15);
/// How long a run that is cut off may take to give its lease up.
const CUT: Duration = Duration::from_secs(5);
/// An operation that is due and could not be claimed is locked by another worker at this moment, which tells
/// its end.
const BUSY: Duration = Duration::from_millis(500);

impl Engine {
    /// Nothing runs yet.
    pub fn new(worker: Worker, tuning: Tuning, wake: Wake, metrics: Metrics) -> Self {
        let owner: Arc<str> = tuning.owner.as_str().into();
        Self {
            leases: Leases::new(Arc::clone(&owner), tuning.lease),
            runner: Runner { worker, metrics, pauses: tuning.pauses },
            owner,
            kinds: kinds::known(),
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
            // Nobody may claim what is still run here: the runs end first, then their leases are free.
            self.leases.lose_all();
            let _ = tokio::time::timeout(CUT, self.tasks.wait()).await;
        }
        renewal_stop.cancel();
        let mut connection = self.runner.worker.database.acquire().await?;
        let given_up = lease::release_all(&mut connection, &self.owner, &self.leases.tokens()).await?;
        tracing::info!(leases = given_up, "leases given up");
        outcome
    }

    async fn claim_until(
        &self,
        stop: &CancellationToken,
        renewal: tokio::task::JoinHandle<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let mut renewal = renewal.fuse();
        let mut name = Name::new(Arc::clone(&self.owner));
        loop {
            name.take(&self.runner.worker.database, &self.leases.tokens()).await;
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

    /// Claims what fits; the time until the next operation is due.
    async fn round(&self) -> anyhow::Result<Duration> {
        let database = &self.runner.worker.database;
        loop {
            let free = self.tuning.concurrency.saturating_sub(self.leases.count());
            if free == 0 {
                // The end of one wakes us.
                return Ok(self.tuning.sweep);
            }
            let in_hand = self.leases.in_hand();
            let claimant = Claimant { owner: &self.owner, kinds: &self.kinds, in_hand: &in_hand };
            let asked_at = Instant::now();
            let claimed = self.claim(claimant, i64::try_from(free)?).await?;
            if claimed.is_empty() {
                let mut connection = database.acquire().await?;
                let due = lease::next_due(&mut connection, claimant).await?;
                self.runner.metrics.queue_depth.set(lease::queue_depth(&mut connection).await?);
                let wait = due.map_or(self.tuning.sweep, |seconds| {
                    Duration::try_from_secs_f64(seconds).unwrap_or_default().max(BUSY)
                });
                return Ok(wait.min(self.tuning.sweep));
            }
            for operation in claimed {
                self.start(operation, asked_at);
            }
        }
    }

    /// One look at the queue, in one transaction. A row that this release cannot read is set aside, and stops
    /// nothing else.
    async fn claim(&self, claimant: Claimant<'_>, limit: i64) -> anyhow::Result<Vec<Claimed>> {
        let mut tx = self.runner.worker.database.begin().await?;
        lease::wake_overdue(&mut tx).await?;
        let claims = lease::claim(&mut tx, claimant, self.leases.seconds(), limit).await?;
        let mut operations = Vec::with_capacity(claims.operations.len());
        let mut unreadable = claims.unreadable;
        for operation in claims.operations {
            match conclude::began(&mut tx, &operation).await {
                Ok(()) => operations.push(operation),
                Err(error) if lease::is_unreadable(&error) => {
                    let why = error.to_string();
                    lease::set_aside(&mut tx, &operation.lease, &why).await?;
                    unreadable.push(Unreadable { id: operation.id, why });
                }
                Err(error) => return Err(error.into()),
            }
        }
        tx.commit().await?;
        for row in unreadable {
            tracing::error!(operation.id = %row.id, error = row.why, "this release cannot read an operation; it is left to one that can");
        }
        Ok(operations)
    }

    fn start(&self, operation: Claimed, asked_at: Instant) {
        let (id, lease) = (operation.id, operation.lease.clone());
        let kind = operation.kind;
        let hold = Hold { hand_over: self.hand_over.clone(), ..Hold::default() };
        self.leases.hold(&lease, asked_at, hold.clone());
        self.runner.metrics.running.inc();
        let span = tracing::info_span!("operation", operation.id = %id, operation.kind = %kind,
            instance.id = %operation.instance_id, request.id = operation.request_id,
            trace.id = tracing::field::Empty, cause.trace.id = tracing::field::Empty);
        let request_id = operation.request_id.clone();
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
                    runner.left(&leases, &lease, &error).await;
                }
                Err(_) => tracing::error!("operation panicked; it is left until its lease ends"),
            }
            leases.forget(&lease);
            runner.metrics.running.dec();
            wake.now();
        };
        self.tasks.spawn(runtime::grpc::within_request(request_id, work.instrument(span)));
    }
}

impl Runner {
    /// A run that ended with an error of the database, or of a row that this release cannot read.
    async fn left(&self, leases: &Leases, lease: &Lease, error: &anyhow::Error) {
        let unreadable = error.downcast_ref::<sqlx::Error>().filter(|error| lease::is_unreadable(error));
        if let Some(cause) = unreadable {
            tracing::error!(error = %cause, "this release cannot read a row of the operation; it is left to one that can");
            let set_aside = async {
                let mut connection = self.worker.database.acquire().await?;
                lease::set_aside(&mut connection, lease, &cause.to_string()).await
            };
            let set_aside: sqlx::Result<()> = set_aside.await;
            if set_aside.is_ok() {
                return;
            }
        }
        tracing::warn!(error = format!("{error:#}"), "operation is left to its next claim");
        leases.let_go(&self.worker.database, lease).await;
    }
}
