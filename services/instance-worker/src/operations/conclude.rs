//! The end of an operation: its row, the instance's status, the timeline and the fact for others in one
//! transaction (INS-20).

use contracts::events::{InstanceFact, topics};
use instance::domain::{
    DesiredState, Event, Instance, OperationKind, OperationState, ProvisioningStatus, StepState, transition,
};
use instance::store::Scope;
use instance::store::events::{self, Cause};
use instance::store::instances;
use instance::store::lease::{self, Claimed, GivingUp, Progress};
use instance::store::observe::{self, Conclusion};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::kinds::Definition;
use super::runner::{Ended, NOT_REMOVED, Runner};
use crate::cluster;

/// How an operation ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ending<'a> {
    /// The aim is reached.
    Success,
    /// It is not.
    Failure(&'a GivingUp),
    /// By wish; it is undone.
    Cancelled,
}

/// The transaction is tried again when somebody else changed the instance meanwhile.
const RACES: usize = 20;

/// Ends the operation; or finds that it is not ours any more.
pub(super) async fn end(
    runner: &Runner,
    definition: &Definition,
    operation: &Claimed,
    ending: Ending<'_>,
) -> anyhow::Result<Ended> {
    for _ in 0..RACES {
        match attempt(runner, definition, operation, ending).await? {
            Attempt::Raced => {}
            Attempt::Lost => return Ok(Ended::Lost),
            Attempt::Done => {
                let outcome = match ending {
                    Ending::Success => "succeeded",
                    Ending::Failure(_) => "failed",
                    Ending::Cancelled => "cancelled",
                };
                note(runner, definition, operation, ending).await;
                return Ok(Ended::Finished(outcome));
            }
        }
    }
    anyhow::bail!("the row of instance {} changes all the time", operation.instance_id)
}

enum Attempt {
    Done,
    Raced,
    Lost,
}

async fn attempt(
    runner: &Runner,
    definition: &Definition,
    operation: &Claimed,
    ending: Ending<'_>,
) -> anyhow::Result<Attempt> {
    let mut tx = runner.worker.database.begin().await?;
    // By the database's clock: the end of a retention is written here.
    let now = instance::store::now(&mut tx).await?;
    let Some(found) = instances::find(&mut tx, operation.instance_id, Scope::All).await? else {
        anyhow::bail!("instance {} has no row", operation.instance_id);
    };
    let instance = found.instance;
    let state = match ending {
        Ending::Success => OperationState::Succeeded,
        Ending::Failure(_) => OperationState::Failed,
        Ending::Cancelled => OperationState::Cancelled,
    };
    let progress = Progress { steps: &operation.steps, step: "" };
    if !lease::finish(&mut tx, &operation.lease, progress, state).await? {
        return Ok(Attempt::Lost);
    }
    let conclusion = conclusion(runner, operation, &instance, ending, now);
    if !observe::conclude(&mut tx, &instance, &conclusion, now).await? {
        return Ok(Attempt::Raced);
    }
    timeline(&mut tx, definition, operation, ending, now).await?;
    announce(&mut tx, definition, operation, &instance, &conclusion, ending, now).await?;
    tx.commit().await?;
    Ok(Attempt::Done)
}

fn conclusion<'a>(
    runner: &Runner,
    operation: &Claimed,
    instance: &Instance,
    ending: Ending<'a>,
    now: OffsetDateTime,
) -> Conclusion<'a> {
    let kind = operation.kind;
    let desired = match (ending, kind) {
        // Refused before anything was started: the reconciler must not start it either.
        (Ending::Failure(_), OperationKind::Start) if !has_begun(operation, "workload") => {
            DesiredState::Stopped
        }
        (Ending::Cancelled, OperationKind::Start) => DesiredState::Stopped,
        (Ending::Cancelled, OperationKind::Undelete) => DesiredState::Terminated,
        _ => instance.desired_state,
    };
    let returned = is_as_before(operation, ending);
    let event = match ending {
        Ending::Failure(_) if returned => Event::Succeeded(kind, desired),
        Ending::Success => Event::Succeeded(kind, desired),
        Ending::Failure(_) => Event::Failed(kind),
        Ending::Cancelled => Event::Cancelled(kind),
    };
    let status = transition(instance.status, event).unwrap_or_else(|invalid| {
        // Nothing but a hand-made edit of the row leads here; the status is left alone, the operation ends
        // all the same.
        tracing::error!(instance.id = %instance.id, error = %invalid, "the end of an operation does not fit the status");
        instance.status
    });
    let made = matches!(kind, OperationKind::Create | OperationKind::Undelete);
    let provisioning = match (kind, ending) {
        (OperationKind::Create, Ending::Success) => ProvisioningStatus::Completed,
        (OperationKind::Create, _) => ProvisioningStatus::Failed,
        _ => instance.provisioning_status,
    };
    let started = matches!(ending, Ending::Success)
        && desired == DesiredState::Running
        && (made || matches!(kind, OperationKind::Start | OperationKind::Restart | OperationKind::Unsuspend));
    let failure = match ending {
        Ending::Failure(_) if returned => None,
        Ending::Failure(why) => Some((why.reason.as_str(), why.message.as_str())),
        Ending::Cancelled if kind == OperationKind::Create => {
            Some(("cancelled", "the creation was cancelled"))
        }
        Ending::Success | Ending::Cancelled => None,
    };
    let terminated_again = matches!(ending, Ending::Cancelled) && kind == OperationKind::Undelete;
    Conclusion {
        status,
        desired,
        provisioning,
        failure,
        started,
        purge_after: terminated_again.then(|| now + runner.worker.retention),
        applied: matches!(ending, Ending::Success),
    }
}

/// DBS-32, DBS-33: a move or rotation that failed and was wholly taken back leaves the instance as it was;
/// the operation alone tells of it.
fn is_as_before(operation: &Claimed, ending: Ending<'_>) -> bool {
    matches!(operation.kind, OperationKind::MoveDatabase | OperationKind::RotatePassword)
        && matches!(ending, Ending::Failure(_))
        && operation.steps.iter().all(|step| !step.detail.starts_with(NOT_REMOVED))
}

/// How long an instance was off for it: from its stop until it answered again.
fn downtime(operation: &Claimed, now: OffsetDateTime) -> Option<i64> {
    let stop = operation.steps.iter().find(|step| step.name == "stop")?.started_at?;
    Some((now - stop).whole_seconds())
}

/// For the estimates of later moves. Lost with the process: then one measurement is missing.
async fn tell_downtime(runner: &Runner, operation: &Claimed) {
    let ended =
        operation.steps.iter().find(|step| step.name == "ready" && step.state == StepState::Succeeded);
    let off = ended.and_then(|ready| downtime(operation, ready.finished_at?));
    let Some(off) = off.and_then(|seconds| u32::try_from(seconds).ok()) else { return };
    if let Err(error) = runner.worker.peers.finish_move(operation.id, off).await {
        tracing::warn!(error = %error, "database-service did not take how long a move took");
    }
}

fn has_begun(operation: &Claimed, name: &str) -> bool {
    operation.steps.iter().any(|step| step.name == name && step.state != StepState::Pending)
}

async fn timeline(
    connection: &mut PgConnection,
    definition: &Definition,
    operation: &Claimed,
    ending: Ending<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let kind = operation.kind;
    let (word, message) = match ending {
        Ending::Success if matches!(kind, OperationKind::MoveDatabase | OperationKind::RotatePassword) => {
            let off = downtime(operation, now).unwrap_or(0);
            let message = format!("{}; the instance was off for {off} s", definition.success.message);
            (definition.success.event.to_owned(), message)
        }
        Ending::Success => (definition.success.event.to_owned(), definition.success.message.to_owned()),
        Ending::Failure(why) => (format!("{kind}_failed"), format!("{kind} failed: {}", why.message)),
        Ending::Cancelled => (format!("{kind}_cancelled"), format!("{kind} was cancelled")),
    };
    let cause = if matches!(ending, Ending::Cancelled) { Cause::Customer } else { Cause::Platform };
    events::add(connection, operation.instance_id, &word, cause, &message, Some(operation.id), now).await
}

async fn announce(
    connection: &mut PgConnection,
    definition: &Definition,
    operation: &Claimed,
    instance: &Instance,
    conclusion: &Conclusion<'_>,
    ending: Ending<'_>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let (topic, reason) = match ending {
        Ending::Success => (definition.success.fact, parameter(operation, "reason")),
        Ending::Failure(why) => (definition.failure_fact, Some(why.message.clone())),
        // It is as ended as it was before: whoever was told that it comes back, such as billing, hears that
        // it does not.
        Ending::Cancelled if operation.kind == OperationKind::Undelete => {
            (Some(topics::INSTANCE_TERMINATED), Some("cancelled".to_owned()))
        }
        Ending::Cancelled => (definition.failure_fact, Some("cancelled".to_owned())),
    };
    let Some(topic) = topic else { return Ok(()) };
    let mut fact = fact(instance, operation, now);
    fact.reason = reason.or_else(|| {
        (topic == topics::INSTANCE_SUSPENDED).then(|| instance.suspended_reason.clone()).flatten()
    });
    fact.purge_after = conclusion.purge_after.or(instance.purge_after);
    messaging::outbox::enqueue(connection, topic, instance.id, &fact).await.map(drop)
}

fn parameter(operation: &Claimed, name: &str) -> Option<String> {
    operation.parameters.get(name).and_then(|value| value.as_str()).map(str::to_owned)
}

fn fact(instance: &Instance, operation: &Claimed, now: OffsetDateTime) -> InstanceFact {
    InstanceFact {
        instance_id: instance.id,
        customer_id: instance.customer_id,
        subscription_id: instance.subscription_id,
        name: instance.name.clone(),
        external_url: instance.external_url.clone(),
        admin_email: instance.admin_email.clone(),
        plan: instance.plan.clone(),
        operation_id: Some(operation.id),
        reason: None,
        purge_after: None,
        occurred_at: now,
    }
}

/// The first claim of a create tells that it began; in the transaction of the claim, so that it is told once.
pub(super) async fn began(connection: &mut PgConnection, operation: &Claimed) -> sqlx::Result<()> {
    if !operation.first_claim || operation.kind != OperationKind::Create {
        return Ok(());
    }
    let now = instance::store::now(connection).await?;
    observe::provisioning_began(connection, operation.instance_id).await?;
    let Some(found) = instances::find(connection, operation.instance_id, Scope::All).await? else {
        return Ok(());
    };
    let fact = fact(&found.instance, operation, now);
    messaging::outbox::enqueue(
        connection,
        topics::INSTANCE_PROVISIONING_STARTED,
        operation.instance_id,
        &fact,
    )
    .await?;
    events::add(
        connection,
        operation.instance_id,
        "provisioning_started",
        Cause::Platform,
        "the instance is being made",
        Some(operation.id),
        now,
    )
    .await
}

async fn note(runner: &Runner, definition: &Definition, operation: &Claimed, ending: Ending<'_>) {
    if matches!(ending, Ending::Success) && operation.kind == OperationKind::MoveDatabase {
        tell_downtime(runner, operation).await;
    }
    if let (Ending::Success, Some(note)) = (ending, definition.success.note) {
        let namespace = &runner.worker.settings.tenants;
        let message = definition.success.message;
        cluster::notify(&runner.worker.cluster, namespace, operation.instance_id, None, note, message).await;
    }
}
