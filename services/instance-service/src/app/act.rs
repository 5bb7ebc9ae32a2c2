//! An action on an instance (INS-18…27): decide, and begin the operation in the same transaction.

use instance::domain::{
    Action, Active, ActorKind, Ask, BillingStatus, Change, Decision, DesiredState, Instance, OperationKind,
    Status, decide, names,
};
use instance::store::consents::{self, Consent};
use instance::store::instances::{Current, Found, RowUpdate};
use instance::store::operations::NewOperation;
use instance::store::{self, audit, events, instances, operations};
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::caller::Caller;
use super::{App, RACES};
use crate::error::Error;

/// What an action carries.
#[derive(Debug, Clone, Default)]
pub struct ActionRequest {
    /// Why.
    pub reason: Option<String>,
    /// The host name, typed by the owner who terminates.
    pub confirm: Option<String>,
    /// A last backup before the data is let go. There are none yet: who asks for one is refused, instead of
    /// believing that there is one. `false` is the word that the data may go without one (INS-26).
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
pub async fn act(
    app: &App,
    caller: &Caller,
    id: Uuid,
    action: Action,
    request: &ActionRequest,
) -> Result<Acted, Error> {
    for _ in 0..RACES {
        let mut tx = app.pool.begin().await?;
        let now = store::now(&mut tx).await?;
        let found = instances::find(&mut tx, id, caller.scope()).await?.ok_or(Error::NotFound("instance"))?;
        check_request(caller, &found.instance, action, request)?;
        let ask =
            Ask { action, actor: caller.kind_towards(found.instance.customer_id), force: request.force };
        let decision = decide(&found.instance, active(&found), ask, now)?;
        let by_itself = action == Action::Purge && caller.kind == ActorKind::Platform;
        if by_itself && !consents::may_purge(&mut tx, id).await? {
            return Err(Error::InvalidState(found.instance.status, Vec::new()));
        }
        let accepting = Accepting { app, caller, before: &found.instance, action, request, now };
        if let Some(acted) = accepting.carry_out(&mut tx, &decision).await? {
            tx.commit().await?;
            if acted.changed {
                tracing::info!(instance.id = %id, action = %action, status = %acted.status, "accepted");
            }
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

fn check_request(
    caller: &Caller,
    instance: &Instance,
    action: Action,
    request: &ActionRequest,
) -> Result<(), Error> {
    let kind = caller.kind_towards(instance.customer_id);
    if matches!(action, Action::Suspend | Action::Undelete) && kind == ActorKind::Admin {
        check_reason(request.reason.as_deref())?;
    }
    let reason = request.reason.as_deref().unwrap_or_default();
    if reason.chars().count() > 500 {
        return Err(Error::invalid("reason", "must have at most 500 characters"));
    }
    names::text(reason).map_err(|error| Error::invalid("reason", error.to_string()))?;
    if action == Action::Terminate && request.final_backup == Some(true) {
        return Err(Error::NoBackups);
    }
    // Repeating a reached state needs no second confirmation of what is gone; the first does.
    let confirmed = request.confirm.as_deref() == Some(instance.subdomain.as_str());
    if action == Action::Terminate && kind == ActorKind::Customer && !confirmed {
        return Err(Error::ConfirmMismatch);
    }
    Ok(())
}

/// An action that was decided on, with all that it came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepting<'a> {
    pub app: &'a App,
    pub caller: &'a Caller,
    /// The instance before it.
    pub before: &'a Instance,
    pub action: Action,
    pub request: &'a ActionRequest,
    /// The moment of the transaction.
    pub now: OffsetDateTime,
}

impl Accepting<'_> {
    /// Writes a decision. `None`: a race was lost; the transaction must be dropped.
    pub(super) async fn carry_out(
        self,
        connection: &mut PgConnection,
        decision: &Decision,
    ) -> Result<Option<Acted>, Error> {
        let Self { caller, before, action, request, now, .. } = self;
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
        let update = self.update();
        match decision {
            Decision::Already(operation) => {
                acted.operation_id = *operation;
                if request.billing_status.is_some_and(|status| status != before.billing_status)
                    && !instances::save_holds(connection, before, before.holds, &update, now).await?
                {
                    return Ok(None);
                }
            }
            Decision::Note(holds) => {
                if !instances::save_holds(connection, before, *holds, &update, now).await? {
                    return Ok(None);
                }
                acted.changed = true;
                "noted; it takes effect when nothing else is in the way".clone_into(&mut acted.message);
                let text = format!("{action} noted");
                events::add(
                    connection,
                    before.id,
                    "noted",
                    caller.cause(before.customer_id),
                    &text,
                    None,
                    now,
                )
                .await?;
            }
            Decision::Begin(change) => {
                let Some(operation) = self.begin(connection, change, &update).await? else {
                    return Ok(None);
                };
                acted.operation_id = Some(operation);
                acted.status = change.status;
                acted.changed = true;
                acted.message = format!("{action} requested");
                acted.purge_after = update.purge_after;
            }
        }
        let agreed = self.keep_consent(connection).await?;
        let told = acted.changed || agreed;
        if told && action == Action::Terminate && before.is_provisioned() {
            self.tell_of_the_data(connection, &mut acted, agreed).await?;
        }
        if (acted.changed || agreed) && caller.is_audited_for(before.customer_id) {
            let reason = request.reason.as_deref().unwrap_or_default();
            audit::add(connection, &caller.entry(action.as_str(), Some(before.id), reason)).await?;
        }
        Ok(Some(acted))
    }

    /// The word that the data may go without a backup: who ends the instance leaves the backup out, who
    /// closes an account ends all that it has, and an administrator purges. True: it was given now.
    async fn keep_consent(self, connection: &mut PgConnection) -> Result<bool, Error> {
        let Self { caller, before, action, request, .. } = self;
        let given = match action {
            Action::Terminate => request.final_backup == Some(false) || caller.kind == ActorKind::Accounts,
            Action::Purge => caller.kind == ActorKind::Admin,
            _ => false,
        };
        if !given || before.status == Status::Purged {
            return Ok(false);
        }
        let consent = Consent {
            instance: before.id,
            given_by: &caller.actor,
            role: caller.role,
            reason: request.reason.as_deref().unwrap_or_default(),
            request_id: &caller.request_id,
        };
        let new = consents::give(connection, &consent).await?;
        if new {
            let text = "the data may be removed after the retention without a backup";
            events::add(
                connection,
                before.id,
                "purge_agreed",
                caller.cause(before.customer_id),
                text,
                None,
                self.now,
            )
            .await?;
        }
        Ok(new)
    }

    /// What the caller reads. An end is told as it is: nobody shall believe that there is a copy.
    async fn tell_of_the_data(
        self,
        connection: &mut PgConnection,
        acted: &mut Acted,
        agreed: bool,
    ) -> Result<(), Error> {
        let may_go = agreed || consents::may_purge(connection, self.before.id).await?;
        let rest = if may_go {
            "no backup is made: the data itself is kept until purge_after, and then removed"
        } else {
            "no backup is made: the data itself is kept, at least until purge_after; it is removed when you \
             say so with final_backup false, or when an administrator does"
        };
        acted.message = format!("{}; {rest}", acted.message);
        Ok(())
    }

    /// What the decision writes besides the status.
    fn update(self) -> RowUpdate {
        let Self { app, before, action, request, now, .. } = self;
        let purge_after = match action {
            // A reactivation that was never paid: the data is kept as long as it would have been.
            Action::Terminate if before.status == Status::PendingPayment && before.is_provisioned() => {
                Some(before.purge_after.unwrap_or(now))
            }
            // Nothing was made for an order that nobody paid (BIL-13), or whose creation failed: its name is
            // free at once.
            Action::Terminate if !before.is_provisioned() => Some(now),
            // The same wish, tried again.
            Action::Terminate | Action::Retry if before.desired_state == DesiredState::Terminated => {
                Some(before.purge_after.unwrap_or_else(|| now.saturating_add(app.rules.retention)))
            }
            Action::Terminate => Some(now.saturating_add(app.rules.retention)),
            Action::Purge => before.purge_after,
            _ => None,
        };
        RowUpdate {
            suspended_reason: request.reason.clone().filter(|_| action == Action::Suspend),
            purge_after,
            restarted_at: matches!(action, Action::Restart | Action::Retry).then_some(now),
            // Who brings an ended one back by hand knows that its subscription ended, or will when billing
            // hears of the end: that word comes later, and must not end it again. Billing says how it goes
            // on.
            billing_status: request
                .billing_status
                .or_else(|| (action == Action::Undelete).then_some(BillingStatus::Closed)),
        }
    }

    /// Locks in the one order of all: the operation that ends, then the instance.
    async fn begin(
        self,
        connection: &mut PgConnection,
        change: &Change,
        update: &RowUpdate,
    ) -> Result<Option<Uuid>, Error> {
        let Self { caller, before, action, request, now, .. } = self;
        if let Some(preempted) = change.preempts
            && !operations::preempt(connection, preempted, change.kind).await?
        {
            return Ok(None);
        }
        if !instances::save_change(connection, before, change, update, now).await? {
            return Ok(None);
        }
        let new = NewOperation {
            kind: change.kind,
            requested_by: caller.actor.clone(),
            parameters: parameters(change.kind, action, request),
            request_id: caller.request_id.clone(),
            can_be_taken_back: change.preempts.is_none(),
        };
        let operation = operations::insert(connection, before, new).await?.id;
        let text = match request.reason.as_deref().filter(|_| action == Action::Suspend) {
            Some(reason) => format!("{action} requested: {reason}"),
            None => format!("{action} requested"),
        };
        let (kind, cause) = ("operation_requested", caller.cause(before.customer_id));
        events::add(connection, before.id, kind, cause, &text, Some(operation), now).await?;
        Ok(Some(operation))
    }
}

/// What the worker reads of the request.
fn parameters(kind: OperationKind, action: Action, request: &ActionRequest) -> serde_json::Value {
    let mut parameters = serde_json::Map::new();
    if let Some(reason) = &request.reason {
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
