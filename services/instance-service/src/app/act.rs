//! An action on an instance (INS-18…27): decide, and begin the operation in the same transaction.

use instance::domain::{
    Action, Active, ActorKind, Ask, BillingStatus, Change, Decision, DesiredState, Instance, OperationKind,
    Status, decide, names,
};
use instance::store::instances::{Current, Extra, Found};
use instance::store::operations::NewOperation;
use instance::store::{audit, events, instances, operations};
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::who::Who;
use super::{App, RACES};
use crate::error::Error;

/// What an action carries.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Why.
    pub reason: Option<String>,
    /// The host name, typed by the owner who terminates.
    pub confirm: Option<String>,
    /// A last backup before the data is let go. There are none yet: who asks for one is refused, instead of
    /// believing that there is one.
    pub final_backup: Option<bool>,
    /// Unsuspend although billing holds it.
    pub force: bool,
    /// New standing of the subscription, when billing speaks.
    pub billing_status: Option<BillingStatus>,
}

/// What came of an action.
#[derive(Debug, Clone)]
pub struct Acted {
    /// Which instance.
    pub instance_id: Uuid,
    /// Which action.
    pub action: Action,
    /// The operation that leads there; none when the state is reached.
    pub operation_id: Option<Uuid>,
    /// Status now.
    pub status: Status,
    /// Something changed.
    pub changed: bool,
    /// For people.
    pub message: String,
    /// End of the retention, for a terminated one.
    pub purge_after: Option<OffsetDateTime>,
    /// When this was decided.
    pub at: OffsetDateTime,
}

/// Reads the words of the HTTP API.
pub fn parse_action(word: &str) -> Result<Action, Error> {
    match word {
        "unpause" => Ok(Action::Unsuspend),
        "update" => Ok(Action::Upgrade),
        "purge" | "retry" => Err(Error::UnknownAction),
        word => word.parse().map_err(|_| Error::UnknownAction),
    }
}

/// The use case; a lost race is run again from its first read.
pub async fn act(app: &App, who: &Who, id: Uuid, action: Action, wish: &Wish) -> Result<Acted, Error> {
    for _ in 0..RACES {
        let now = runtime::clock::now();
        let mut tx = app.pool.begin().await?;
        let found = instances::find(&mut tx, id, who.scope()).await?.ok_or(Error::NotFound("instance"))?;
        check_wish(who, &found.instance, action, wish)?;
        let ask = Ask { action, actor: who.kind_towards(found.instance.customer_id), force: wish.force };
        let decision = decide(&found.instance, active(&found), ask, now)?;
        if let Some(acted) = carry_out(&mut tx, app, who, &found, action, wish, &decision, now).await? {
            tx.commit().await?;
            return Ok(acted);
        }
    }
    Err(Error::Conflict)
}

/// The active operation, for the decision.
pub(super) fn active(found: &Found) -> Option<Active> {
    found.current.map(|Current { id, kind, .. }| Active { id, kind })
}

/// A reason of operators and admins: 5 to 500 characters (SEC-17).
pub(crate) fn check_reason(reason: Option<&str>) -> Result<&str, Error> {
    let reason = reason.unwrap_or_default().trim();
    if !(5..=500).contains(&reason.chars().count()) {
        return Err(Error::invalid("reason", "must have 5 to 500 characters"));
    }
    names::text(reason).map_err(|error| Error::invalid("reason", error.to_string()))?;
    Ok(reason)
}

fn check_wish(who: &Who, instance: &Instance, action: Action, wish: &Wish) -> Result<(), Error> {
    let kind = who.kind_towards(instance.customer_id);
    if matches!(action, Action::Suspend | Action::Undelete) && kind == ActorKind::Admin {
        check_reason(wish.reason.as_deref())?;
    }
    let reason = wish.reason.as_deref().unwrap_or_default();
    if reason.chars().count() > 500 {
        return Err(Error::invalid("reason", "must have at most 500 characters"));
    }
    names::text(reason).map_err(|error| Error::invalid("reason", error.to_string()))?;
    if action == Action::Terminate && wish.final_backup == Some(true) {
        return Err(Error::NoBackups);
    }
    // Repeating a reached state needs no second confirmation of what is gone; the first does.
    let confirmed = wish.confirm.as_deref() == Some(instance.subdomain.as_str());
    if action == Action::Terminate && kind == ActorKind::Customer && !confirmed {
        return Err(Error::ConfirmMismatch);
    }
    Ok(())
}

/// Writes a decision. `None`: a race was lost; the transaction must be dropped.
#[expect(clippy::too_many_arguments, reason = "one decision with all that it came from")]
pub(super) async fn carry_out(
    connection: &mut PgConnection,
    app: &App,
    who: &Who,
    found: &Found,
    action: Action,
    wish: &Wish,
    decision: &Decision,
    now: OffsetDateTime,
) -> Result<Option<Acted>, Error> {
    let before = &found.instance;
    let mut acted = Acted {
        instance_id: before.id,
        action,
        operation_id: None,
        status: before.status,
        changed: false,
        message: format!("already {}", before.status),
        purge_after: before.purge_after,
        at: now,
    };
    let extra = extra(app, before, action, wish, now);
    match decision {
        Decision::Already(operation) => {
            acted.operation_id = *operation;
            if wish.billing_status.is_some_and(|status| status != before.billing_status)
                && !instances::save_holds(connection, before, before.holds, &extra, now).await?
            {
                return Ok(None);
            }
        }
        Decision::Note(holds) => {
            if !instances::save_holds(connection, before, *holds, &extra, now).await? {
                return Ok(None);
            }
            acted.changed = true;
            "noted; it takes effect when nothing else is in the way".clone_into(&mut acted.message);
            let text = format!("{action} noted");
            events::add(connection, before.id, "noted", who.cause(), &text, None, now).await?;
        }
        Decision::Begin(change) => {
            let Some(operation) = begin(connection, who, before, change, action, wish, &extra, now).await?
            else {
                return Ok(None);
            };
            acted.operation_id = Some(operation);
            acted.status = change.status;
            acted.changed = true;
            acted.message = requested(action, before);
            acted.purge_after = extra.purge_after;
        }
    }
    if acted.changed && who.is_audited_for(before.customer_id) {
        let reason = wish.reason.as_deref().unwrap_or_default();
        audit::add(connection, &who.entry(action.as_str(), Some(before.id), reason)).await?;
    }
    Ok(Some(acted))
}

/// What the caller reads. An end is told as it is: nobody shall believe that there is a copy.
fn requested(action: Action, before: &Instance) -> String {
    if action == Action::Terminate && before.is_provisioned() {
        format!(
            "{action} requested; no backup is made: the data itself is kept until purge_after, and then removed"
        )
    } else {
        format!("{action} requested")
    }
}

/// What the decision writes besides the status.
fn extra(app: &App, before: &Instance, action: Action, wish: &Wish, now: OffsetDateTime) -> Extra {
    let purge_after = match action {
        // A reactivation that was never paid: the data is kept as long as it would have been.
        Action::Terminate if before.status == Status::PendingPayment && before.is_provisioned() => {
            Some(before.purge_after.unwrap_or(now))
        }
        // Nothing was made for an order that nobody paid (BIL-13), or whose creation failed: its name is free
        // at once.
        Action::Terminate if !before.is_provisioned() => Some(now),
        // The same wish, tried again.
        Action::Terminate | Action::Retry if before.desired_state == DesiredState::Terminated => {
            Some(before.purge_after.unwrap_or_else(|| now.saturating_add(app.rules.retention)))
        }
        Action::Terminate => Some(now.saturating_add(app.rules.retention)),
        Action::Purge => before.purge_after,
        _ => None,
    };
    Extra {
        suspended_reason: wish.reason.clone().filter(|_| action == Action::Suspend),
        purge_after,
        restarted_at: matches!(action, Action::Restart | Action::Retry).then_some(now),
        // Who brings an ended one back by hand knows that its subscription ended, or will when billing hears
        // of the end: that word comes later, and must not end it again. Billing says how it goes on.
        billing_status: wish
            .billing_status
            .or_else(|| (action == Action::Undelete).then_some(BillingStatus::Closed)),
    }
}

#[expect(clippy::too_many_arguments, reason = "one decision with all that it came from")]
async fn begin(
    connection: &mut PgConnection,
    who: &Who,
    before: &Instance,
    change: &Change,
    action: Action,
    wish: &Wish,
    extra: &Extra,
    now: OffsetDateTime,
) -> Result<Option<Uuid>, Error> {
    if let Some(preempted) = change.preempts
        && !operations::preempt(connection, preempted, change.kind).await?
    {
        return Ok(None);
    }
    if !instances::save_change(connection, before, change, extra, now).await? {
        return Ok(None);
    }
    let new = NewOperation {
        kind: change.kind,
        requested_by: who.actor.clone(),
        parameters: parameters(change.kind, action, wish),
        request_id: who.request_id.clone(),
        can_be_taken_back: change.preempts.is_none(),
    };
    let operation = operations::insert(connection, before, new).await?;
    let text = match wish.reason.as_deref().filter(|_| action == Action::Suspend) {
        Some(reason) => format!("{action} requested: {reason}"),
        None => format!("{action} requested"),
    };
    events::add(connection, before.id, "operation_requested", who.cause(), &text, Some(operation.id), now)
        .await?;
    Ok(Some(operation.id))
}

/// What the worker reads of the wish.
fn parameters(kind: OperationKind, action: Action, wish: &Wish) -> serde_json::Value {
    let mut parameters = serde_json::Map::new();
    if let Some(reason) = &wish.reason {
        parameters.insert("reason".to_owned(), json!(reason));
    }
    if kind == OperationKind::Terminate {
        parameters.insert("final_backup".to_owned(), json!(false));
    }
    if action == Action::Retry {
        parameters.insert("retry".to_owned(), json!(true));
    }
    serde_json::Value::Object(parameters)
}
