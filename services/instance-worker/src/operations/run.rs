//! Runs one claimed operation: forward step by step, or backward when its aim is given up, until it ends, is
//! parked, or is lost.

use std::sync::atomic::Ordering;
use std::time::Duration;

use instance::domain::{ParkedFor, Step, StepState};
use instance::store::instances;
use instance::store::lease::{self, Claimed, GivingUp, Progress};
use instance::store::{Scope, lease::release};
use time::OffsetDateTime;

use super::clock::Clock;
use super::conclude::{self, Ending};
use super::context::Context;
use super::kinds::{Definition, StepDefinition, TakeBack, definition};
use super::runner::{Ended, Hold, NOT_REMOVED, Runner};
use super::step::{Failure, Outcome};
use super::steps::{self, Undo};

/// What an undo may take, from the first of them: then the operation ends, and what is left is reported as an
/// orphan.
const UNDO: time::Duration = time::Duration::minutes(30);
/// Between two tries of an undo.
const UNDO_AGAIN: Duration = Duration::from_secs(5);

/// One run of one operation.
struct Run<'a> {
    runner: &'a Runner,
    definition: &'static Definition,
    operation: Claimed,
    hold: Hold,
    clock: Clock,
    /// The next step continues a wait: not another try.
    resumed: bool,
}

enum Next {
    Go,
    End(Ended),
}

impl Runner {
    /// Runs until an end. An error is the platform's database: the lease ends by itself and the operation is
    /// taken up again.
    pub(super) async fn run(&self, operation: Claimed, hold: Hold) -> anyhow::Result<Ended> {
        let lease = operation.lease.clone();
        let definition = definition(operation.kind)
            .ok_or_else(|| anyhow::anyhow!("{} is claimed although nobody can do it", operation.kind))?;
        let (resumed, clock) = (operation.resumed, Clock::new(operation.claimed_at));
        let lost = hold.lost.clone();
        let mut run = Run { runner: self, definition, operation, hold, clock, resumed };
        let ended = tokio::select! {
            biased;
            () = lost.cancelled() => Ended::Lost,
            ended = run.drive() => ended?,
        };
        if ended == Ended::Lost {
            // Pre-empted: the next operation of the instance waits for this. Lost for good: no row is ours,
            // nothing happens.
            let mut connection = self.worker.database.acquire().await?;
            release(&mut connection, &lease).await?;
        }
        Ok(ended)
    }
}

impl Run<'_> {
    async fn drive(&mut self) -> anyhow::Result<Ended> {
        if let Some(name) = self.unknown_step() {
            tracing::error!(
                step = name,
                "this release does not know a step; the operation is left to one that does"
            );
            let why = format!("a release that does not know the step {name} left it");
            return self.park(Some(ParkedFor::Release), lease::FOR_RELEASE, Some(&why)).await;
        }
        loop {
            if self.hold.hand_over.is_cancelled() {
                let mut connection = self.runner.worker.database.acquire().await?;
                release(&mut connection, &self.operation.lease).await?;
                return Ok(Ended::HandedOver);
            }
            let next = if self.operation.giving_up.is_some() {
                self.backward().await?
            } else if self.current().is_none() {
                // All is done: whatever was wished or ran out since, there is nothing left to give up.
                self.succeed().await?
            } else if let Some(why) = self.given_up_by_others() {
                let begun = |index: &usize| self.operation.steps[*index].state == StepState::Running;
                let failed = self.current().filter(|index| why.reason != "cancelled" && begun(index));
                self.give_up(why, "", failed).await?
            } else {
                self.forward().await?
            };
            if let Next::End(ended) = next {
                return Ok(ended);
            }
        }
    }

    /// A step of the row that comes from another release.
    fn unknown_step(&self) -> Option<String> {
        let unknown = self.operation.steps.iter().find(|step| self.definition.step(&step.name).is_none());
        unknown.map(|step| step.name.clone())
    }

    /// A wish of the customer, or the deadline.
    fn given_up_by_others(&self) -> Option<GivingUp> {
        let why = |reason: &str, message: &str| GivingUp { reason: reason.into(), message: message.into() };
        if self.operation.deadline <= self.clock.now() {
            return Some(why("deadline_exceeded", "the operation did not end in time"));
        }
        let cancel = self.operation.cancel_requested || self.hold.cancel.load(Ordering::SeqCst);
        // A first claim may come between the wish and the queue: then nothing was done, and any kind may
        // still end.
        let may =
            self.operation.kind.cancellable_when_running() || self.operation.kind.cancellable_when_queued();
        (cancel && may).then(|| why("cancelled", "cancelled by the customer"))
    }

    fn current(&self) -> Option<usize> {
        self.operation
            .steps
            .iter()
            .position(|step| !matches!(step.state, StepState::Succeeded | StepState::Skipped))
    }

    fn progress(&self) -> Progress<'_> {
        let step = self.current().map_or("", |index| self.operation.steps[index].name.as_str());
        Progress { steps: &self.operation.steps, step }
    }

    async fn context(&self, began: Option<OffsetDateTime>) -> anyhow::Result<Option<Context<'_>>> {
        let worker = &self.runner.worker;
        let mut connection = worker.database.acquire().await?;
        let found = instances::find(&mut connection, self.operation.instance_id, Scope::All).await?;
        let now = self.clock.now();
        Ok(found.map(|found| Context {
            worker,
            operation: &self.operation,
            instance: found.instance,
            step_began: began.unwrap_or(now),
            now,
        }))
    }

    async fn succeed(&self) -> anyhow::Result<Next> {
        conclude::end(self.runner, self.definition, &self.operation, Ending::Success).await.map(Next::End)
    }

    async fn forward(&mut self) -> anyhow::Result<Next> {
        let step =
            |index: usize| self.definition.step(&self.operation.steps[index].name).map(|step| (index, step));
        let Some((index, step)) = self.current().and_then(step) else { return self.succeed().await };
        self.begin(index);
        // One write for the end of the step before and the beginning of this one.
        if !self.save().await? {
            return Ok(Next::End(Ended::Lost));
        }
        let Some(mut context) = self.context(self.operation.steps[index].started_at).await? else {
            return self.give_up(gone(), "the row is gone", Some(index)).await;
        };
        let outcome = steps::run(step.run, &mut context).await;
        drop(context);
        if matches!(outcome, Ok(Outcome::Done)) {
            self.fail_point(index, step);
        }
        self.settle(index, outcome).await
    }

    fn begin(&mut self, index: usize) {
        let now = self.clock.now();
        let step = &mut self.operation.steps[index];
        let resumed = std::mem::take(&mut self.resumed);
        step.state = StepState::Running;
        step.started_at.get_or_insert(now);
        if !resumed || step.attempts == 0 {
            step.attempts += 1;
        }
    }

    async fn settle(&mut self, index: usize, outcome: Result<Outcome, Failure>) -> anyhow::Result<Next> {
        let name = self.operation.steps[index].name.clone();
        match outcome {
            Ok(Outcome::Done) => {
                self.finish(index, StepState::Succeeded, "");
                tracing::info!(step = name, "step done");
                Ok(Next::Go)
            }
            Ok(Outcome::Skipped(why)) => {
                self.finish(index, StepState::Skipped, why);
                tracing::info!(step = name, why, "step not needed");
                Ok(Next::Go)
            }
            Ok(Outcome::Wait(parked_for, pause)) => {
                self.park(Some(parked_for), pause, None).await.map(Next::End)
            }
            Err(failure) => self.failed(index, failure).await,
        }
    }

    async fn failed(&mut self, index: usize, failure: Failure) -> anyhow::Result<Next> {
        let (name, tries) = (self.operation.steps[index].name.clone(), self.operation.steps[index].attempts);
        let internal = failure.internal().to_owned();
        tracing::warn!(step = name, tries, error = internal, "step failed");
        let pause = self.runner.pauses.after(tries);
        match failure {
            Failure::Retry { .. } if self.clock.now() + pause < self.operation.deadline => {
                self.runner.metrics.retried(self.operation.kind, &name);
                self.park(None, pause, Some(&internal)).await.map(Next::End)
            }
            // The deadline comes before the next try: what hindered it is the better reason.
            Failure::Retry { reason, message, .. } => {
                let why = GivingUp { reason: reason.to_owned(), message: message.to_owned() };
                self.give_up(why, &internal, Some(index)).await
            }
            Failure::Permanent { reason, message, .. } => {
                self.give_up(GivingUp { reason, message }, &internal, Some(index)).await
            }
        }
    }

    /// Durable from here: another worker that takes over goes on backward.
    async fn give_up(
        &mut self,
        why: GivingUp,
        internal: &str,
        failed: Option<usize>,
    ) -> anyhow::Result<Next> {
        tracing::warn!(reason = why.reason, "operation gives its aim up");
        if let Some(index) = failed {
            self.finish(index, StepState::Failed, "");
        }
        let mut connection = self.runner.worker.database.acquire().await?;
        let lease = &self.operation.lease;
        if !lease::give_up(&mut connection, lease, self.progress(), &why, internal).await? {
            return Ok(Next::End(Ended::Lost));
        }
        self.operation.giving_up = Some(why);
        Ok(Next::Go)
    }

    /// Takes back what was begun, last first; then ends the operation.
    async fn backward(&mut self) -> anyhow::Result<Next> {
        let why = self.operation.giving_up.clone().unwrap_or_else(gone);
        let cancelled = why.reason == "cancelled";
        let undoes = match self.definition.take_back {
            TakeBack::Always => true,
            TakeBack::OnCancel => cancelled,
            TakeBack::Never => false,
        };
        let left = self.operation.steps.iter().rposition(|step| {
            matches!(step.state, StepState::Succeeded | StepState::Running | StepState::Failed)
                && !step.detail.starts_with(NOT_UNDONE)
        });
        let Some(index) = left.filter(|_| undoes) else {
            let ending = if cancelled { Ending::Cancelled } else { Ending::Failure(&why) };
            let ended = conclude::end(self.runner, self.definition, &self.operation, ending).await?;
            return Ok(Next::End(ended));
        };
        let undo =
            self.definition.step(&self.operation.steps[index].name).map_or(Undo::Nothing, |step| step.undo);
        let now = self.clock.now();
        let began = *self.operation.steps[index].undo_began_at.get_or_insert(now);
        let Some(mut context) = self.context(Some(began)).await? else {
            return Ok(Next::End(Ended::Lost));
        };
        let outcome = steps::undo(undo, &mut context).await;
        drop(context);
        self.settle_undo(index, outcome).await
    }

    async fn settle_undo(&mut self, index: usize, outcome: Result<Outcome, Failure>) -> anyhow::Result<Next> {
        let began = self.operation.steps.iter().filter_map(|step| step.undo_began_at).min();
        let overdue = began.is_some_and(|began| self.clock.now() - began > UNDO);
        let step = &mut self.operation.steps[index];
        match outcome {
            Ok(Outcome::Wait(parked_for, pause)) if !overdue => {
                return self.park(Some(parked_for), pause, None).await.map(Next::End);
            }
            Ok(Outcome::Wait(..)) => {
                tracing::error!(step = step.name, "undo waited for too long");
                step.detail = format!("{NOT_REMOVED}: it did not come to an end in time");
            }
            Ok(_) if step.state == StepState::Failed => NOT_UNDONE.clone_into(&mut step.detail),
            Ok(_) => step.state = StepState::Undone,
            Err(failure @ Failure::Retry { .. }) if !overdue => {
                let internal = failure.internal().to_owned();
                tracing::warn!(step = step.name, error = internal, "undo failed, trying again");
                return self.park(None, UNDO_AGAIN, Some(&internal)).await.map(Next::End);
            }
            Err(failure) => {
                tracing::error!(step = step.name, error = failure.internal(), "undo failed for good");
                step.detail = format!("{NOT_REMOVED}: what it made could not be removed");
            }
        }
        Ok(if self.save().await? { Next::Go } else { Next::End(Ended::Lost) })
    }

    fn finish(&mut self, index: usize, state: StepState, detail: &str) {
        let now = self.clock.now();
        let step: &mut Step = &mut self.operation.steps[index];
        step.state = state;
        step.finished_at = Some(now);
        detail.clone_into(&mut step.detail);
    }

    async fn save(&self) -> anyhow::Result<bool> {
        let mut connection = self.runner.worker.database.acquire().await?;
        Ok(lease::save(&mut connection, &self.operation.lease, self.progress()).await?)
    }

    async fn park(
        &self,
        parked_for: Option<ParkedFor>,
        pause: Duration,
        internal: Option<&str>,
    ) -> anyhow::Result<Ended> {
        let mut connection = self.runner.worker.database.acquire().await?;
        let (lease, seconds) = (&self.operation.lease, pause.as_secs_f64());
        let kept =
            lease::park(&mut connection, lease, self.progress(), parked_for, seconds, internal).await?;
        Ok(if kept { Ended::Parked } else { Ended::Lost })
    }

    /// The tests kill the process here: the effect is there, and nobody has written so. Whoever does again
    /// what a dead one did lives on.
    fn fail_point(&self, index: usize, step: StepDefinition) {
        if self.operation.attempts == 1 || self.operation.steps[index].attempts == 1 {
            self.runner.worker.fail.at(&format!("{}.{}", self.operation.kind, step.name));
        }
    }
}

/// Begins the detail of a failed step whose undo was looked after.
const NOT_UNDONE: &str = "failed";

fn gone() -> GivingUp {
    GivingUp { reason: "not_found".into(), message: "the instance does not exist".into() }
}
