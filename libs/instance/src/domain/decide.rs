//! What happens when somebody asks for an action (INS-18…27, INS-30): one pure function over what is known
//! now.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Action, DesiredState, Event, Holds, Instance, OperationKind, Status, transition};

/// On whose behalf something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// The owner.
    Customer,
    /// Role operator.
    Operator,
    /// Role admin or super_admin.
    Admin,
    /// billing-service announced a fact on the subscription.
    Billing,
    /// user-service closes an account.
    Accounts,
    /// Our own sweeps.
    Platform,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The action.
    pub action: Action,
    /// By whom.
    pub actor: ActorKind,
    /// Unsuspend although billing still holds it (admins).
    pub force: bool,
}

/// The operation that is queued or running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Active {
    /// Identifier.
    pub id: Uuid,
    /// What it does.
    pub kind: OperationKind,
}

/// What shall happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// An operation begins; all of it in one transaction.
    Begin(Change),
    /// Only the holds change: the operation follows when the present one has ended.
    Note(Holds),
    /// Reached already, or on its way by this operation; nothing changes.
    Already(Option<Uuid>),
}

/// The row after acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// What the operation does.
    pub kind: OperationKind,
    /// Status from now on.
    pub status: Status,
    /// Desired state from now on.
    pub desired: DesiredState,
    /// Where an end of the suspension leads.
    pub desired_before_suspend: Option<DesiredState>,
    /// Who keeps it suspended.
    pub holds: Holds,
    /// This operation ends at once (fencing keeps its worker from writing).
    pub preempts: Option<Uuid>,
}

/// Why nothing happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Not by this actor.
    Forbidden,
    /// Billing holds it (INS-21).
    PaymentRequired,
    /// Not in this state; these are the actions that the actor may ask for now (INS-19).
    InvalidState(Status, Vec<Action>),
    /// Another operation is active (INS-20).
    OperationInProgress(OperationKind),
    /// Nothing is left of it (INS-27).
    Purged,
    /// It has not ended, so it cannot come back (BIL-25).
    NotTerminated(Status),
    /// Nothing failed (INS-38).
    NothingToRetry(Status),
    /// Comes later.
    NotImplemented,
}

impl ActorKind {
    /// Who may ask for what (http-api part 2).
    const fn may(self, action: Action) -> bool {
        match action {
            Action::Start | Action::Stop | Action::Restart | Action::Backup => {
                matches!(self, Self::Customer | Self::Operator | Self::Admin | Self::Platform)
            }
            Action::Upgrade | Action::Restore => matches!(self, Self::Customer | Self::Admin),
            Action::Suspend | Action::Unsuspend => {
                matches!(self, Self::Admin | Self::Billing | Self::Platform)
            }
            Action::Terminate => {
                matches!(self, Self::Customer | Self::Admin | Self::Billing | Self::Accounts | Self::Platform)
            }
            Action::Undelete => matches!(self, Self::Admin),
            Action::ApplyResources => matches!(self, Self::Admin | Self::Billing | Self::Platform),
            Action::Purge => matches!(self, Self::Admin | Self::Platform),
            Action::Retry => matches!(self, Self::Operator | Self::Admin | Self::Platform),
        }
    }
}

/// May `actor` ask for `action` here? Table 3.1, the holds, and what was ever made.
fn allows(instance: &Instance, action: Action) -> bool {
    let status = instance.status;
    let held = instance.holds.any();
    let made = instance.is_provisioned();
    match action {
        Action::Start | Action::Restart if held => false,
        // A suspension that failed can be ended, also when what it was for has passed meanwhile.
        Action::Unsuspend
            if status == Status::Error && (held || instance.desired_state == DesiredState::Suspended) =>
        {
            true
        }
        // There is nothing to stop or to suspend; only to make or to leave.
        Action::Stop | Action::Suspend if status == Status::Error && !made => false,
        _ => status.allowed_actions().contains(&action),
    }
}

/// Actions that have a name already and nobody who carries them out.
const NOT_YET: [Action; 3] = [Action::Upgrade, Action::Backup, Action::Restore];

/// What is offered instead: nothing that would only be answered with "not available yet".
fn allowed(instance: &Instance, actor: ActorKind) -> Vec<Action> {
    let offered =
        |action: &Action| !NOT_YET.contains(action) && actor.may(*action) && allows(instance, *action);
    Action::ALL.iter().copied().filter(offered).collect()
}

/// The decision. `active` is the instance's queued or running operation.
pub fn decide(
    instance: &Instance,
    active: Option<Active>,
    ask: Ask,
    now: OffsetDateTime,
) -> Result<Decision, Refused> {
    let Ask { action, actor, force } = ask;
    if !actor.may(action) {
        return Err(Refused::Forbidden);
    }
    match action {
        action if NOT_YET.contains(&action) => return Err(Refused::NotImplemented),
        Action::Retry => return Err(Refused::NothingToRetry(instance.status)),
        Action::Undelete if instance.status == Status::Purged => return Err(Refused::Purged),
        _ => {}
    }
    let waits_for_money = instance.holds.billing || instance.status == Status::PendingPayment;
    // INS-21: before any 409.
    if matches!(action, Action::Start | Action::Restart) && waits_for_money {
        return Err(Refused::PaymentRequired);
    }
    let billing_blocks = action == Action::Unsuspend && actor == ActorKind::Admin && !force;
    if billing_blocks && waits_for_money {
        return Err(Refused::PaymentRequired);
    }
    let holds = holds_after(instance.holds, ask);
    if reached(instance, active, action, holds) {
        return Ok(already(instance, active, holds));
    }
    if actor == ActorKind::Billing && instance.status == Status::PendingPayment && action == Action::Unsuspend
    {
        // A reactivated one has its data (BIL-25).
        let kind = if instance.is_provisioned() { OperationKind::Undelete } else { OperationKind::Create };
        return begin(instance, kind, active, holds);
    }
    if action == Action::Unsuspend && holds.any() {
        // The other side still holds it.
        return Ok(Decision::Note(holds));
    }
    let due = instance.purge_after.is_some_and(|due| due <= now);
    if !allows(instance, action) || (action == Action::Purge && !due) {
        return hold_or(
            instance,
            actor,
            holds,
            Refused::InvalidState(instance.status, allowed(instance, actor)),
        );
    }
    let kind = kind_of(instance, action);
    match active {
        Some(active) if !active.kind.yields_to(kind) => {
            hold_or(instance, actor, holds, Refused::OperationInProgress(active.kind))
        }
        active => begin(instance, kind, active, holds),
    }
}

/// A retry of what failed last (INS-38). Without a failed operation the pod was lost or crashed: a new one.
pub fn decide_retry(
    instance: &Instance,
    active: Option<Active>,
    last_failed: Option<OperationKind>,
    actor: ActorKind,
) -> Result<Decision, Refused> {
    if !actor.may(Action::Retry) {
        return Err(Refused::Forbidden);
    }
    if let Some(active) = active {
        return Err(Refused::OperationInProgress(active.kind));
    }
    let purge_failed = instance.status == Status::Terminated && last_failed == Some(OperationKind::Purge);
    if instance.status != Status::Error && !purge_failed {
        return Err(Refused::NothingToRetry(instance.status));
    }
    let kind = match last_failed {
        _ if !instance.is_provisioned() && instance.desired_state != DesiredState::Terminated => {
            OperationKind::Create
        }
        Some(kind) => kind,
        None if instance.desired_state == DesiredState::Stopped => OperationKind::Stop,
        None => OperationKind::Restart,
    };
    if instance.holds.billing
        && !matches!(kind, OperationKind::Suspend | OperationKind::Terminate | OperationKind::Purge)
    {
        return Err(Refused::PaymentRequired);
    }
    begin(instance, kind, None, instance.holds)
}

/// A move of the database (DBS-33): of an instance that has one, that runs or is off by its owner's wish, and
/// that nothing else happens to.
pub fn decide_move(instance: &Instance, active: Option<Active>, actor: ActorKind) -> Result<Change, Refused> {
    decide_maintenance(instance, active, actor, OperationKind::MoveDatabase)
}

/// A change of the database's password (DBS-32): as for a move.
pub fn decide_rotation(
    instance: &Instance,
    active: Option<Active>,
    actor: ActorKind,
) -> Result<Change, Refused> {
    decide_maintenance(instance, active, actor, OperationKind::RotatePassword)
}

fn decide_maintenance(
    instance: &Instance,
    active: Option<Active>,
    actor: ActorKind,
    kind: OperationKind,
) -> Result<Change, Refused> {
    if !matches!(actor, ActorKind::Admin | ActorKind::Billing | ActorKind::Platform) {
        return Err(Refused::Forbidden);
    }
    if let Some(active) = active {
        return Err(Refused::OperationInProgress(active.kind));
    }
    if !instance.is_provisioned() {
        return Err(Refused::InvalidState(instance.status, allowed(instance, actor)));
    }
    match begin(instance, kind, None, instance.holds)? {
        Decision::Begin(change) => Ok(change),
        Decision::Note(_) | Decision::Already(_) => {
            Err(Refused::InvalidState(instance.status, allowed(instance, actor)))
        }
    }
}

fn holds_after(holds: Holds, ask: Ask) -> Holds {
    let billing = ask.actor == ActorKind::Billing;
    match ask.action {
        Action::Suspend if billing => Holds { billing: true, ..holds },
        Action::Suspend if ask.actor == ActorKind::Admin => Holds { operator: true, ..holds },
        Action::Unsuspend if billing => Holds { billing: false, ..holds },
        Action::Unsuspend if ask.actor == ActorKind::Admin && ask.force => Holds::default(),
        Action::Unsuspend if ask.actor == ActorKind::Admin => Holds { operator: false, ..holds },
        Action::Undelete => Holds::default(),
        _ => holds,
    }
}

/// Is the aim of the action reached, or on its way?
fn reached(instance: &Instance, active: Option<Active>, action: Action, holds: Holds) -> bool {
    let status = instance.status;
    let moving_to = |kind| active.is_some_and(|active| active.kind == kind);
    match action {
        Action::Start => {
            matches!(status, Status::Running)
                || (moving_to(OperationKind::Start) || moving_to(OperationKind::Restart))
                    && matches!(status, Status::Starting | Status::Restarting)
        }
        Action::Stop => status == Status::Stopped || moving_to(OperationKind::Stop),
        Action::Restart => moving_to(OperationKind::Restart),
        Action::Suspend => status == Status::Suspended || moving_to(OperationKind::Suspend),
        Action::Unsuspend => {
            !holds.any()
                && (moving_to(OperationKind::Unsuspend)
                    || instance.desired_state != DesiredState::Suspended
                        && !matches!(status, Status::PendingPayment | Status::Suspended)
                        && status.is_live()
                        && !instance.holds.any())
        }
        Action::Terminate => matches!(status, Status::Terminating | Status::Terminated | Status::Purged),
        Action::Undelete => moving_to(OperationKind::Undelete),
        Action::Purge => status == Status::Purged || moving_to(OperationKind::Purge),
        Action::ApplyResources => {
            moving_to(OperationKind::ApplyResources)
                || active.is_none()
                    && instance.generation == instance.observed_generation
                    && matches!(status, Status::Running | Status::Stopped | Status::Suspended)
        }
        Action::Upgrade | Action::Backup | Action::Restore | Action::Retry => false,
    }
}

fn already(instance: &Instance, active: Option<Active>, holds: Holds) -> Decision {
    if holds == instance.holds {
        Decision::Already(active.map(|active| active.id))
    } else {
        Decision::Note(holds)
    }
}

/// Billing's word is kept although nothing can be done now: a sweep acts on the hold later. Everybody else is
/// refused.
fn hold_or(
    instance: &Instance,
    actor: ActorKind,
    holds: Holds,
    refused: Refused,
) -> Result<Decision, Refused> {
    if actor != ActorKind::Billing || !instance.status.is_live() {
        return Err(refused);
    }
    if holds == instance.holds { Ok(Decision::Already(None)) } else { Ok(Decision::Note(holds)) }
}

fn kind_of(instance: &Instance, action: Action) -> OperationKind {
    match action {
        Action::Start | Action::Restart if !instance.is_provisioned() => OperationKind::Create,
        Action::Start => OperationKind::Start,
        Action::Stop => OperationKind::Stop,
        Action::Restart | Action::Retry => OperationKind::Restart,
        Action::Suspend => OperationKind::Suspend,
        Action::Unsuspend => OperationKind::Unsuspend,
        Action::Terminate => OperationKind::Terminate,
        Action::Undelete => OperationKind::Undelete,
        Action::Purge => OperationKind::Purge,
        Action::ApplyResources => OperationKind::ApplyResources,
        Action::Upgrade => OperationKind::Upgrade,
        Action::Backup => OperationKind::Backup,
        Action::Restore => OperationKind::Restore,
    }
}

pub(super) fn begin(
    instance: &Instance,
    kind: OperationKind,
    active: Option<Active>,
    holds: Holds,
) -> Result<Decision, Refused> {
    let former = instance.desired_before_suspend.unwrap_or(DesiredState::Running);
    let desired = match kind {
        OperationKind::Create | OperationKind::Start | OperationKind::Restart | OperationKind::Undelete => {
            DesiredState::Running
        }
        OperationKind::Stop => DesiredState::Stopped,
        OperationKind::Suspend => DesiredState::Suspended,
        OperationKind::Unsuspend => former,
        OperationKind::Terminate | OperationKind::Purge => DesiredState::Terminated,
        _ => instance.desired_state,
    };
    let desired_before_suspend = match (kind, instance.desired_state) {
        (OperationKind::Suspend, before @ (DesiredState::Running | DesiredState::Stopped)) => Some(before),
        (OperationKind::Suspend, _) => Some(former),
        (OperationKind::Terminate | OperationKind::Purge, _) => instance.desired_before_suspend,
        _ if desired == DesiredState::Suspended => instance.desired_before_suspend,
        _ => None,
    };
    let status = transition(instance.status, Event::Accepted(kind, desired))
        .map_err(|invalid| Refused::InvalidState(invalid.from, Vec::new()))?;
    Ok(Decision::Begin(Change {
        kind,
        status,
        desired,
        desired_before_suspend,
        holds,
        preempts: active.map(|active| active.id),
    }))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
pub(super) mod tests;
