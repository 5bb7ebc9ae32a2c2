//! Editing an instance (INS-17): texts at once, limits within the plan and by an operation.

use std::collections::BTreeMap;
use std::sync::Arc;

use instance::domain::{AskedLimits, Event, Instance, OperationKind, Status, names, transition};
use instance::store::instances::{Current, Found};
use instance::store::operations::NewOperation;
use instance::store::{self, audit, events, instances, operations};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::caller::Caller;
use super::{App, RACES};
use crate::clients::billing::Plan;
use crate::error::{Error, violation};

/// What shall be different; absent stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// Display name.
    pub name: Option<String>,
    /// Display text.
    pub description: Option<String>,
    /// Contact only: the login inside of the tenant stays.
    pub admin_email: Option<String>,
    /// All labels anew.
    pub labels: Option<BTreeMap<String, String>>,
    /// New limits.
    pub limits: AskedLimits,
    /// `If-Match`.
    pub expected_version: Option<i64>,
}

/// The use case. The operation is there when a rollout follows.
pub async fn update(
    app: &App,
    caller: &Caller,
    id: Uuid,
    edit: &Edit,
) -> Result<(Found, Option<Uuid>), Error> {
    for _ in 0..RACES {
        let plan = plan(app, caller, id, edit).await?;
        let mut tx = app.pool.begin().await?;
        let now = store::now(&mut tx).await?;
        let found = instances::find(&mut tx, id, caller.scope()).await?.ok_or(Error::NotFound("instance"))?;
        if caller.kind_towards(found.instance.customer_id) == instance::domain::ActorKind::Operator {
            return Err(Error::Forbidden);
        }
        if edit.expected_version.is_some_and(|version| version != found.instance.version) {
            return Err(Error::VersionMismatch);
        }
        // Asked for before the transaction: nobody else's answer is waited for within one.
        if plan.as_ref().is_some_and(|plan| plan.name != found.instance.plan) {
            continue;
        }
        let edited = edited(app, &found, edit, plan.as_deref())?;
        let Some(operation) = save(&mut tx, caller, &found.instance, &edited, now).await? else {
            if edit.expected_version.is_some() {
                return Err(Error::VersionMismatch);
            }
            continue;
        };
        let found = instances::find(&mut tx, id, caller.scope()).await?.ok_or(Error::NotFound("instance"))?;
        tx.commit().await?;
        return Ok((found, operation));
    }
    Err(Error::Conflict)
}

/// What the plan gives, when limits are asked for.
async fn plan(app: &App, caller: &Caller, id: Uuid, edit: &Edit) -> Result<Option<Arc<Plan>>, Error> {
    if edit.limits.is_empty() {
        return Ok(None);
    }
    let mut connection = app.pool.acquire().await?;
    let found =
        instances::find(&mut connection, id, caller.scope()).await?.ok_or(Error::NotFound("instance"))?;
    drop(connection);
    app.billing.plan(&found.instance.plan).await.map(Some)
}

/// The row as it shall be.
fn edited(app: &App, found: &Found, edit: &Edit, plan: Option<&Plan>) -> Result<Instance, Error> {
    let mut edited = found.instance.clone();
    if edited.status == Status::Purged {
        return Err(Error::InvalidState(edited.status, Vec::new()));
    }
    let mut faults = Vec::new();
    let mut take =
        |field: &str, value: &mut String, outcome: Option<Result<String, names::Invalid>>| match outcome {
            Some(Ok(text)) => *value = text,
            Some(Err(error)) => faults.push(violation(field, error.to_string())),
            None => {}
        };
    take("name", &mut edited.name, edit.name.as_deref().map(names::display_name));
    take("description", &mut edited.description, edit.description.as_deref().map(names::description));
    take("admin_email", &mut edited.admin_email, edit.admin_email.as_deref().map(names::email));
    match edit.labels.clone().map(names::labels) {
        Some(Ok(labels)) => edited.labels = labels,
        Some(Err(error)) => faults.push(violation("labels", error.to_string())),
        None => {}
    }
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    if let Some(plan) = plan {
        edited.limits = plan.limits.or(app.rules.fallback).regrant(edited.limits, edit.limits)?;
    }
    if edited.limits != found.instance.limits {
        if let Some(Current { kind, .. }) = found.current {
            return Err(Error::OperationInProgress(kind));
        }
        edited.status = status_of_rollout(&edited)?;
    }
    Ok(edited)
}

/// Where new limits lead. In `error` they are only kept: they take effect with the next start.
fn status_of_rollout(instance: &Instance) -> Result<Status, Error> {
    let accepted = Event::Accepted(OperationKind::ApplyResources, instance.desired_state);
    match instance.status {
        Status::Error => Ok(Status::Error),
        status => transition(status, accepted)
            .map_err(|_| Error::InvalidState(status, status.allowed_actions().to_vec())),
    }
}

/// Saves row, operation, event and audit. Outer `None`: a race was lost.
async fn save(
    connection: &mut PgConnection,
    caller: &Caller,
    before: &Instance,
    edited: &Instance,
    now: OffsetDateTime,
) -> Result<Option<Option<Uuid>>, Error> {
    if edited == before {
        return Ok(Some(None));
    }
    if !instances::save_edit(connection, before, edited, now).await? {
        return Ok(None);
    }
    let mut operation = None;
    let mut text = "edited";
    if edited.limits != before.limits {
        text = "limits changed";
        if edited.status != Status::Error {
            let new = NewOperation {
                kind: OperationKind::ApplyResources,
                requested_by: caller.actor.clone(),
                parameters: serde_json::json!({}),
                request_id: caller.request_id.clone(),
                can_be_taken_back: false,
            };
            operation = Some(operations::insert(connection, before, new).await?.id);
        }
    }
    events::add(connection, before.id, "updated", caller.cause(before.customer_id), text, operation, now)
        .await?;
    if caller.is_audited_for(before.customer_id) {
        audit::add(connection, &caller.entry("update", Some(before.id), "")).await?;
    }
    Ok(Some(operation))
}
