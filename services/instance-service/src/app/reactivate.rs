//! A terminated instance comes back under a new subscription (BIL-25): the same data on the same volume, at
//! once or after the payment.
//!
//! As with a create the order comes first, and is idempotent by the instance: a call that was cut off between
//! the order and the row is made again and finds its order; one that nobody makes again is taken back by
//! billing, which asks for the instance of each order.

use instance::domain::{Limits, Operation, may_reactivate, reactivate};
use instance::store::instances::{Current, Found, RowUpdate};
use instance::store::operations::NewOperation;
use instance::store::{self, Scope, audit, closed, events, instances, operations, wishes};
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::caller::Caller;
use super::{App, act};
use crate::clients::billing::{Order, Placed, Plan};
use crate::error::Error;

/// The instance, and the operation that brings it back; none while it waits for a payment.
#[derive(Debug, Clone)]
pub struct Reactivated {
    /// The row.
    pub found: Found,
    /// Its way back.
    pub operation: Option<Operation>,
}

/// The use case. Only the owner may: it begins to pay again.
pub async fn bring_back(
    app: &App,
    caller: &Caller,
    id: Uuid,
    plan_name: &str,
    coupon: String,
) -> Result<Reactivated, Error> {
    let owner = caller.user.ok_or(Error::Forbidden)?;
    let mut connection = app.pool.acquire().await?;
    let found =
        instances::find(&mut connection, id, caller.own()).await?.ok_or(Error::NotFound("instance"))?;
    let now = store::now(&mut connection).await?;
    drop(connection);
    let before = &found.instance;
    may_reactivate(before, act::active(&found), now)?;
    let (account, plan) = tokio::try_join!(app.customers.find(owner), app.billing.plan(plan_name))?;
    let account = account.filter(|account| account.is_active).ok_or(Error::Forbidden)?;
    if !plan.available {
        return Err(Error::PlanUnavailable(plan.name.clone()));
    }
    let limits = limits(app, &found, &plan).await?;
    let order = Order {
        instance_id: id,
        customer_id: owner,
        plan: plan.name.clone(),
        trial: Some(false),
        settings_json: json!({ "reactivates": id }).to_string(),
        coupon,
    };
    let placed = app.billing.reactivate(&order, before.subscription_id).await?;
    let quota = account.max_instances.unwrap_or(app.rules.max_instances);
    match store(app, caller, id, &plan, limits, &placed, quota).await {
        Ok(reactivated) => Ok(reactivated),
        Err(error) => {
            if is_refusal(&error) && !is_taken(app, id, placed.subscription_id).await {
                app.billing.cancel(id, error.reason()).await;
            }
            Err(error)
        }
    }
}

/// Every call with this order is refused so. Whatever else went wrong says nothing about the order: another
/// call, or the commit whose answer was lost, may have taken it. Billing asks for the instance of each order,
/// and takes back what nobody has.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::QuotaExceeded(_)
            | Error::Purged
            | Error::NotTerminated(_)
            | Error::Forbidden
            | Error::NotFound(_)
    )
}

/// Has another call put the instance under this subscription? Where nobody can say, it is left to billing.
async fn is_taken(app: &App, id: Uuid, subscription: Uuid) -> bool {
    let found = async {
        let mut connection = app.pool.acquire().await?;
        instances::find(&mut connection, id, Scope::All).await
    };
    let found: sqlx::Result<Option<Found>> = found.await;
    found
        .map_or(true, |found| found.is_some_and(|found| found.instance.subscription_id == Some(subscription)))
}

/// What it gets: the plan's limits, less where the customer had chosen less. Its volume must fit, since none
/// gets smaller.
async fn limits(app: &App, found: &Found, plan: &Plan) -> Result<Limits, Error> {
    let present = found.instance.limits;
    let wanted = plan.limits.or(app.rules.fallback);
    if present.storage_mib > wanted.storage_mib {
        return Err(Error::StorageExceedsPlan(present.storage_mib));
    }
    Ok(wanted
        .carried_over(app.billing.former_limits(&found.instance.plan, app.rules.fallback).await, present))
}

async fn store(
    app: &App,
    caller: &Caller,
    id: Uuid,
    plan: &Plan,
    limits: Limits,
    placed: &Placed,
    quota: u32,
) -> Result<Reactivated, Error> {
    let mut tx = app.pool.begin().await?;
    let now = store::now(&mut tx).await?;
    let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
    // One decision of a customer at a time, as with creates: the quota.
    instances::lock_customer(&mut tx, found.instance.customer_id).await?;
    let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
    let before = &found.instance;
    if before.subscription_id == Some(placed.subscription_id) {
        // The same call, made twice at once.
        let operation = match found.current {
            Some(current) => operations::find(&mut tx, id, current.id, Scope::All).await?,
            None => None,
        };
        return Ok(Reactivated { found, operation });
    }
    may_reactivate(before, act::active(&found), now)?;
    if closed::is_closing(&mut tx, before.customer_id).await? {
        return Err(Error::Forbidden);
    }
    let room = instances::room(&mut tx, before.customer_id, "", Uuid::nil()).await?;
    if room.live >= i64::from(quota) {
        return Err(Error::QuotaExceeded(quota));
    }
    let mut after = before.clone();
    after.subscription_id = Some(placed.subscription_id);
    after.plan.clone_from(&plan.name);
    after.plan_tier.clone_from(&plan.tier);
    after.db_tier.clone_from(&plan.db_tier);
    after.limits = limits;
    after.billing_status = placed.billing_status;
    if !instances::save_reactivation(&mut tx, before, &after, !placed.provision_now, now).await? {
        return Err(Error::Conflict);
    }
    if plan.db_type == before.db_type {
        wishes::clear(&mut tx, id).await?;
    } else {
        let wish = wishes::DatabaseWish {
            instance_id: id,
            db_type: plan.db_type.clone(),
            db_tier: plan.db_tier.clone(),
        };
        wishes::set(&mut tx, &wish, now).await?;
    }
    let operation = if placed.provision_now { Some(begin(&mut tx, caller, id, now).await?) } else { None };
    let text = match operation {
        Some(_) => format!("reactivated with the plan {}", plan.name),
        None => format!("reactivated with the plan {}; it waits for a payment", plan.name),
    };
    let operation_id = operation.as_ref().map(|operation| operation.id);
    events::add(&mut tx, id, "reactivated", caller.cause(before.customer_id), &text, operation_id, now)
        .await?;
    if caller.is_audited_for(before.customer_id) {
        audit::add(&mut tx, &caller.entry("reactivate", Some(id), &text)).await?;
    }
    let mut found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
    tx.commit().await?;
    found.current =
        operation.as_ref().map(|operation| Current { id: operation.id, kind: operation.kind, progress: 0 });
    Ok(Reactivated { found, operation })
}

/// The way back, on the row as it was just saved.
async fn begin(
    connection: &mut PgConnection,
    caller: &Caller,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Operation, Error> {
    let found = instances::find(connection, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
    let change = reactivate(&found.instance)?;
    if !instances::save_change(connection, &found.instance, &change, &RowUpdate::default(), now).await? {
        return Err(Error::Conflict);
    }
    let new = NewOperation {
        kind: change.kind,
        requested_by: caller.actor.clone(),
        parameters: json!({ "reason": "reactivated" }),
        request_id: caller.request_id.clone(),
        can_be_taken_back: false,
    };
    Ok(operations::insert(connection, &found.instance, new).await?)
}
