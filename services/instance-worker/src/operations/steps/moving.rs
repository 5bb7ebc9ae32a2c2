//! target, copy, compare, sync, verify, switch of a moving database (DBS-33). database-service holds the
//! truth of the move under the operation's id; the worker stops, copies by a job, and writes down where the
//! database is.

use std::time::Duration;

use contracts::database::v1::{CopyEnd, ReserveMoveRequest};
use instance::domain::{ParkedFor, StepState};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use secrecy::SecretString;
use uuid::Uuid;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::{LookAt, Owner};
use crate::objects::copy_job::{self, Copy, End, Processes, Progress};
use crate::objects::{InvalidName, Name, Wish};

/// A server of its own has to be made first.
const TARGET_DEADLINE: Duration = Duration::from_mins(20);
const TARGET_POLL: Duration = Duration::from_secs(5);
/// Jobs are not watched: a small database is copied within the first of these, and a large one is not asked
/// for all the time.
const JOB_POLL: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(15);
/// Tries of a copy.
const COPIES: u32 = 3;
/// An instance that was started again after a move that failed must be ready within this.
const BACK_DEADLINE: time::Duration = time::Duration::minutes(12);

fn text(context: &Context<'_>, name: &str) -> String {
    context.operation.parameters.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
}

/// The next look at what goes on elsewhere: after an eighth of the time that it took so far.
fn wait_for_job(context: &Context<'_>) -> Outcome {
    let waited = Duration::try_from(context.now - context.step_began).unwrap_or_default();
    Outcome::Wait(ParkedFor::Job, (waited / 8).clamp(*JOB_POLL.start(), *JOB_POLL.end()))
}

pub(super) async fn reserve(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let request = ReserveMoveRequest {
        move_id: context.operation.id.to_string(),
        instance_id: context.instance.id.to_string(),
        target_pool: text(context, "target_pool"),
        dedicated: context.operation.parameters.get("dedicated").is_some_and(|value| value == true),
        plan_tier: text(context, "plan_tier"),
    };
    let answer = context.worker.peers.reserve_move(request).await?;
    if answer.status == "reserved" {
        tracing::info!(
            instance.id = %context.instance.id,
            source = answer.source_pool,
            target = answer.target_pool,
            size_bytes = answer.size_bytes,
            estimated_downtime_seconds = answer.estimated_downtime_seconds,
            "a slot for the moving database is held"
        );
        return Ok(Outcome::Done);
    }
    if context.waited_longer_than(TARGET_DEADLINE) {
        return Err(Failure::permanent(
            "database_timeout",
            "no database server became ready in time",
            format!("no room for {} s", TARGET_DEADLINE.as_secs()),
        ));
    }
    Ok(Outcome::Wait(ParkedFor::Pool, TARGET_POLL))
}

pub(super) async fn abort(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    context.worker.peers.abort_move(context.operation.id).await?;
    Ok(Outcome::Done)
}

fn named(name: Result<Name, InvalidName>) -> Result<Name, Failure> {
    name.map_err(|error| Failure::permanent("internal", "the copy has no name", error.to_string()))
}

/// A copy of all, while the instance runs.
pub(super) async fn copy(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let name = named(copy_job::name(context.operation.id))?;
    match job(context, &name).await?.as_ref().map(copy_job::progress) {
        None => begin(context, &name, Processes::BesideWork).await,
        Some(Progress::Running) => Ok(wait_for_job(context)),
        Some(Progress::Complete) => {
            // The job itself goes by its time to live.
            delete_credentials(context, &name).await?;
            Ok(Outcome::Done)
        }
        Some(Progress::Failed(why)) => again(context, "copy", &name, why).await,
    }
}

/// Which tables need not be read again when the instance is off.
pub(super) async fn compare(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let compared = context.worker.peers.compare_copy(context.operation.id).await?;
    Ok(if compared { Outcome::Done } else { wait_for_job(context) })
}

/// With the instance off: what was written since, or all of it, by another job, when that cannot be told.
pub(super) async fn sync(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let name = named(copy_job::name_when_off(context.operation.id))?;
    let anew = job(context, &name).await?;
    match anew.as_ref().map(copy_job::progress) {
        Some(Progress::Running) => return Ok(wait_for_job(context)),
        Some(Progress::Failed(why)) => return again(context, "sync", &name, why).await,
        None | Some(Progress::Complete) => {}
    }
    match context.worker.peers.sync_copy(context.operation.id).await?.as_str() {
        "synced" => {
            delete_credentials(context, &name).await?;
            Ok(Outcome::Done)
        }
        "copy_again" if anew.is_none() => begin(context, &name, Processes::All).await,
        "copy_again" => again(context, "sync", &name, "it changed while the instance was off".into()).await,
        _ => Ok(wait_for_job(context)),
    }
}

async fn job(context: &Context<'_>, name: &Name) -> Result<Option<Job>, Failure> {
    let Some(job) = context.worker.cluster.get::<Job>(context.namespace(), name.as_str()).await? else {
        return Ok(None);
    };
    if !Owner::Job(context.instance.id).owns(&job.metadata) {
        return Err(crate::cluster::Error::OwnershipConflict(format!("Job {name}")).into());
    }
    Ok(Some(job))
}

/// Restored by parts, so that what is there of it must go first: the next try begins with an empty target.
async fn again(context: &Context<'_>, step: &str, name: &Name, why: String) -> Result<Outcome, Failure> {
    let tries = context.operation.steps.iter().find(|found| found.name == step);
    if tries.is_some_and(|step| step.attempts >= COPIES) {
        return Err(Failure::permanent("copy_failed", "the database could not be copied", why));
    }
    delete_everything(context, name).await?;
    Err(Failure::Retry { reason: "copy_failed", message: "the database could not be copied", internal: why })
}

/// An empty target, then what the job needs, then the job.
async fn begin(context: &Context<'_>, name: &Name, processes: Processes) -> Result<Outcome, Failure> {
    let answer = context.worker.peers.begin_copy(context.operation.id).await?;
    let (Some(source), Some(target)) = (answer.source, answer.target) else {
        return Err(broken("an end of the copy is missing"));
    };
    let copy = Copy {
        operation: context.operation.id,
        instance: context.instance.id,
        image: answer.image,
        source: end(source)?,
        target: end(target)?,
        authorities: answer.ca_certificates,
        processes,
    };
    let (cluster, settings) = (&context.worker.cluster, &context.worker.settings);
    let owner = Owner::Job(context.instance.id);
    cluster.apply(&copy_job::secret(&copy, name, settings, None), owner, LookAt::Server).await?;
    cluster.apply(&copy_job::policy(&copy, name, settings, None), owner, LookAt::Server).await?;
    let made = cluster.apply(&copy_job::job(&copy, name, settings), owner, LookAt::Server).await?;
    // Now that it has an identity: what belongs to it goes with it, also when nobody comes back here.
    let uid = Some(made.uid());
    cluster.apply(&copy_job::secret(&copy, name, settings, uid), owner, LookAt::Server).await?;
    cluster.apply(&copy_job::policy(&copy, name, settings, uid), owner, LookAt::Server).await?;
    Ok(wait_for_job(context))
}

fn end(end: CopyEnd) -> Result<End, Failure> {
    Ok(End {
        pool: Uuid::parse_str(&end.pool_id).map_err(|error| broken(&format!("pool_id: {error}")))?,
        host: end.host,
        port: u16::try_from(end.port).map_err(|error| broken(&format!("port: {error}")))?,
        database: end.database,
        user: end.user,
        password: SecretString::from(end.password),
    })
}

fn broken(internal: &str) -> Failure {
    Failure::Retry {
        reason: "dependency_unavailable",
        message: "another part of the platform did not answer as agreed",
        internal: internal.to_owned(),
    }
}

async fn delete_credentials(context: &Context<'_>, name: &Name) -> Result<(), Failure> {
    let cluster = &context.worker.cluster;
    let owner = Owner::Job(context.instance.id);
    cluster.delete::<Secret>(context.namespace(), name.as_str(), owner, None).await?;
    cluster.delete::<NetworkPolicy>(context.namespace(), name.as_str(), owner, None).await?;
    Ok(())
}

async fn delete_everything(context: &Context<'_>, name: &Name) -> Result<(), Failure> {
    let owner = Owner::Job(context.instance.id);
    context.worker.cluster.delete::<Job>(context.namespace(), name.as_str(), owner, None).await?;
    delete_credentials(context, name).await
}

pub(super) async fn delete_jobs(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let operation = context.operation.id;
    for name in [copy_job::name(operation), copy_job::name_when_off(operation)] {
        delete_everything(context, &named(name)?).await?;
    }
    Ok(Outcome::Done)
}

pub(super) async fn verify(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let verified = context.worker.peers.verify_copy(context.operation.id).await?;
    Ok(if verified { Outcome::Done } else { wait_for_job(context) })
}

/// The decision is database-service's; row and Secret follow it, and are written again until they do.
pub(super) async fn switch(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let allocation = context.worker.peers.switch_move(context.operation.id).await?;
    super::database::note(context, &allocation).await?;
    super::secret::ensure(context).await
}

/// Row and Secret say where database-service has the database, whether it was switched or not.
pub(super) async fn settle(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let allocation = context.worker.peers.allocation(context.instance.id).await?;
    super::database::note(context, &allocation).await?;
    super::secret::ensure(context).await
}

/// The instance as it was before the move: with its pod, when it shall have one.
pub(super) async fn start_again(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let wish = context.wish();
    match super::workload::apply(context, wish.running).await? {
        Outcome::Done => {}
        other => return Ok(other),
    }
    if !wish.running {
        return Ok(Outcome::Done);
    }
    let outcome = super::pods::ready(context).await?;
    let failed = context.operation.steps.iter().filter(|step| step.state == StepState::Failed);
    let since = failed.filter_map(|step| step.finished_at).max().unwrap_or(context.operation.deadline);
    if matches!(outcome, Outcome::Wait(..)) && context.now - since > BACK_DEADLINE {
        return Err(Failure::permanent(
            "start_timeout",
            "the instance did not get ready again in time",
            Wish::of(context.instance.desired_state).running.to_string(),
        ));
    }
    Ok(outcome)
}
