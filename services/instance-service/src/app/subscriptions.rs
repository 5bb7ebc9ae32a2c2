//! What billing's word means for instances (BIL-13…16, BIL-21, BIL-24): begin, suspend, resume, terminate,
//! another plan. A fact is a hint: the entitlement is read before anything is decided, so that repeated, late
//! and reordered facts change nothing. Billing is asked before the transaction, and the row is read again in
//! it.

use contracts::services::BILLING;
use futures::StreamExt as _;
use instance::domain::{
    Action, ActorKind, Ask, BillingStatus, Event, Instance, Limits, OperationKind, Status, decide, transition,
};
use instance::store::events::Cause;
use instance::store::instances::{Found, RowUpdate, Subscribed};
use instance::store::operations::NewOperation;
use instance::store::{self, Scope, events, instances, operations, wishes};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::act::{self, Accepting, ActionRequest};
use super::caller::Caller;
use super::move_database::Target;
use super::{App, RACES};
use crate::clients::billing::{Answer, Entitlement, Plan, Standing};
use crate::error::Error;

/// Instances of a page that are followed beside each other.
const BESIDE: usize = 8;

/// What does billing say of this subscription now? For a fact, with its reason, and for the sweep behind it
/// (REL-04). An answer that does not come changes nothing (BIL-35).
pub async fn look_after(
    app: &App,
    instance: Uuid,
    subscription: Uuid,
    reason: Option<&str>,
) -> Result<(), Error> {
    for _ in 0..RACES {
        // It is not here, or an older subscription of a reactivated instance: that decides nothing.
        let Some(before) = current(app, instance, subscription).await? else { return Ok(()) };
        // Asked after the row was read: whoever followed a newer answer meanwhile has changed its version.
        let Some(entitlement) = app.billing.entitlement(subscription).await? else {
            not_known(instance, subscription);
            return Ok(());
        };
        if follow_answer(app, &before, &entitlement, reason).await? {
            return Ok(());
        }
    }
    Err(Error::Conflict)
}

/// The same for a page of instances, whose subscriptions billing is asked for in one call. Rows that changed
/// since the page was read are asked for again, each for itself.
pub async fn look_after_all(app: &App, page: &[Subscribed]) -> Result<(), Error> {
    let subscriptions: Vec<Uuid> = page.iter().map(|one| one.subscription_id).collect();
    let answers = app.billing.entitlements(&subscriptions).await?;
    let answers = &answers;
    futures::stream::iter(page)
        .for_each_concurrent(BESIDE, |one| async move {
            let followed = match answers.get(&one.subscription_id) {
                Some(Answer::Known(entitlement)) => follow_page(app, one, entitlement).await,
                Some(Answer::Unknown) => {
                    not_known(one.id, one.subscription_id);
                    Ok(())
                }
                // Billing cannot say: the next round asks again.
                None => Ok(()),
            };
            if let Err(error) = followed {
                tracing::warn!(instance.id = %one.id, reason = error.reason(), error = format!("{error:#}"),
                    "billing's word was not followed");
            }
        })
        .await;
    Ok(())
}

async fn follow_page(app: &App, one: &Subscribed, entitlement: &Entitlement) -> Result<(), Error> {
    let Some(before) = current(app, one.id, one.subscription_id).await? else { return Ok(()) };
    if before.instance.version == one.version && follow_answer(app, &before, entitlement, None).await? {
        return Ok(());
    }
    look_after(app, one.id, one.subscription_id, None).await
}

/// Billing's audit reports it (BIL-37); a missing row over there stops nobody's service.
fn not_known(instance: Uuid, subscription: Uuid) {
    tracing::warn!(
        instance.id = %instance,
        subscription.id = %subscription,
        "billing does not know this subscription"
    );
}

/// Makes the row what billing said, if it is still the row that billing was asked for. False: it is not.
async fn follow_answer(
    app: &App,
    before: &Found,
    entitlement: &Entitlement,
    reason: Option<&str>,
) -> Result<bool, Error> {
    let former = former_limits(app, &before.instance, entitlement).await;
    let mut tx = app.pool.begin().await?;
    let Some(found) = instances::find(&mut tx, before.instance.id, Scope::All).await? else {
        return Ok(true);
    };
    if found.instance.version != before.instance.version {
        return Ok(false);
    }
    if !follow(&mut tx, app, &found, entitlement, former, reason).await? {
        return Ok(false);
    }
    tx.commit().await?;
    Ok(true)
}

/// The row, while this is its subscription.
async fn current(app: &App, instance: Uuid, subscription: Uuid) -> Result<Option<Found>, Error> {
    let mut connection = app.pool.acquire().await?;
    let found = instances::find(&mut connection, instance, Scope::All).await?;
    Ok(found.filter(|found| found.instance.subscription_id == Some(subscription)))
}

/// What the plan of the row gave, when it is to be another one.
async fn former_limits(app: &App, before: &Instance, entitlement: &Entitlement) -> Option<Limits> {
    let plan = entitlement.plan.as_ref().filter(|plan| plan.name != before.plan);
    plan?;
    app.billing.former_limits(&before.plan, app.rules.fallback).await
}

/// Makes the row what the entitlement says: run or not, then the plan. False: a race was lost.
async fn follow(
    connection: &mut PgConnection,
    app: &App,
    found: &Found,
    entitlement: &Entitlement,
    former: Option<Limits>,
    reason: Option<&str>,
) -> Result<bool, Error> {
    let now = store::now(connection).await?;
    let before = &found.instance;
    let taken = match action_for(before, entitlement.standing) {
        Some(action) => take(connection, app, found, action, entitlement, reason, now).await?,
        None => note_standing(connection, before, entitlement.billing_status, now).await?,
    };
    if !taken {
        return Ok(false);
    }
    let Some(plan) = &entitlement.plan else { return Ok(true) };
    if before.plan == plan.name {
        return Ok(true);
    }
    match instances::find(connection, before.id, Scope::All).await? {
        Some(found) => change_plan(connection, app, &found, plan, former, now).await,
        None => Ok(true),
    }
}

/// What the standing asks of this instance; `None` where it is so already.
fn action_for(instance: &Instance, standing: Standing) -> Option<Action> {
    let waits = instance.status == Status::PendingPayment;
    match standing {
        // Once only: whoever brings an ended one back by hand (INS-27) has decided otherwise.
        Standing::Ended => {
            let known = instance.billing_status == BillingStatus::Closed;
            (instance.status.is_live() && !known).then_some(Action::Terminate)
        }
        Standing::MayRun => (waits || instance.holds.billing).then_some(Action::Unsuspend),
        // An order that was never paid has nothing to suspend: it just goes on waiting.
        Standing::Unpaid => {
            (!waits && instance.status.is_live() && !instance.holds.billing).then_some(Action::Suspend)
        }
    }
}

async fn take(
    connection: &mut PgConnection,
    app: &App,
    found: &Found,
    action: Action,
    entitlement: &Entitlement,
    reason: Option<&str>,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let caller = Caller::service(BILLING, ActorKind::Billing, "");
    // The sweep may find it before the fact comes, and a fact may be an old one: billing's word of now is the
    // better one (REL-04).
    let why = match (entitlement.cause.as_deref().or(reason), entitlement.standing) {
        (Some(word), _) => in_words(word),
        (None, Standing::Ended) => "the subscription ended",
        (None, Standing::MayRun | Standing::Unpaid) => "a payment is due",
    };
    let request = ActionRequest {
        reason: (action != Action::Unsuspend).then(|| why.to_owned()),
        billing_status: entitlement.billing_status,
        ..ActionRequest::default()
    };
    let ask = Ask { action, actor: ActorKind::Billing, force: false };
    match decide(&found.instance, act::active(found), ask, now) {
        Ok(decision) => {
            let accepting =
                Accepting { app, caller: &caller, before: &found.instance, action, request: &request, now };
            Ok(accepting.carry_out(connection, &decision).await?.is_some())
        }
        Err(refused) => {
            tracing::info!(instance.id = %found.instance.id, action = %action, refused = ?refused, "a fact changes nothing");
            Ok(true)
        }
    }
}

/// A reason word of billing as people read it, in mails and at the instance.
fn in_words(reason: &str) -> &str {
    match reason {
        "overdue" => "an invoice is overdue",
        "cancelled" => "the subscription was cancelled",
        "payment_timeout" => "the order was not paid in time",
        "terminated" => "the instance was terminated",
        text => text,
    }
}

async fn note_standing(
    connection: &mut PgConnection,
    before: &Instance,
    standing: Option<BillingStatus>,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    if standing.is_none_or(|standing| standing == before.billing_status) {
        return Ok(true);
    }
    let update = RowUpdate { billing_status: standing, ..RowUpdate::default() };
    Ok(instances::save_holds(connection, before, before.holds, &update, now).await?)
}

/// Another plan (BIL-21, BIL-22, INS-29): its limits on the row and one operation that rolls them out. A plan
/// with another type of database server moves the database, and its one new pod has the new limits too. Where
/// another operation is active, or the instance rests in a state without one, the row alone changes: the
/// worker brings the objects to it, and a sweep begins the move that was wished.
async fn change_plan(
    connection: &mut PgConnection,
    app: &App,
    found: &Found,
    plan: &Plan,
    former: Option<Limits>,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let before = &found.instance;
    if !before.status.is_live() || before.status == Status::Terminating {
        return Ok(true);
    }
    let mut after = before.clone();
    after.plan.clone_from(&plan.name);
    after.plan_tier.clone_from(&plan.tier);
    after.db_tier.clone_from(&plan.db_tier);
    after.limits = plan.limits.or(app.rules.fallback).carried_over(former, before.limits);
    let moves = plan.db_type != before.db_type && before.database.is_some();
    let target = Target::of_plan(&plan.db_type, &plan.db_tier);
    let rollout = rollout(found, moves, before.limits != after.limits);
    if let Some((_, status)) = rollout {
        after.status = status;
    }
    if !instances::save_plan(connection, before, &after, now).await? {
        return Ok(false);
    }
    note_place(connection, before, plan, moves, now).await?;
    let mut operation = None;
    if let Some((kind, _)) = rollout {
        let parameters =
            if kind == OperationKind::MoveDatabase { target.parameters() } else { serde_json::json!({}) };
        let new = NewOperation {
            kind,
            requested_by: BILLING.to_owned(),
            parameters,
            request_id: String::new(),
            can_be_taken_back: false,
        };
        operation = Some(operations::insert(connection, before, new).await?.id);
        if kind == OperationKind::MoveDatabase {
            wishes::begun(connection, before.id, now).await?;
        }
    }
    let text = format!("plan changed from {} to {}", before.plan, plan.name);
    events::add(connection, before.id, "plan_changed", Cause::Billing, &text, operation, now).await?;
    Ok(true)
}

/// The operation that makes the change true now, and the status that it begins with.
fn rollout(found: &Found, moves: bool, resized: bool) -> Option<(OperationKind, Status)> {
    let instance = &found.instance;
    if found.current.is_some() || !instance.is_provisioned() || instance.status == Status::Error {
        return None;
    }
    let wanted = [(OperationKind::MoveDatabase, moves), (OperationKind::ApplyResources, resized)];
    wanted.into_iter().filter(|(_, wanted)| *wanted).find_map(|(kind, _)| {
        let accepted = Event::Accepted(kind, instance.desired_state);
        Some((kind, transition(instance.status, accepted).ok()?))
    })
}

/// Where the plan wants the database. One that is not made yet is asked for where the row says.
async fn note_place(
    connection: &mut PgConnection,
    before: &Instance,
    plan: &Plan,
    moves: bool,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    if !moves && plan.db_type == before.db_type {
        return wishes::clear(connection, before.id).await;
    }
    let wish = wishes::DatabaseWish {
        instance_id: before.id,
        db_type: plan.db_type.clone(),
        db_tier: plan.db_tier.clone(),
    };
    wishes::set(connection, &wish, now).await?;
    let text = format!("the database moves from a {} to a {} server", before.db_type, plan.db_type);
    events::add(connection, before.id, "database_move_wished", Cause::Platform, &text, None, now).await
}
