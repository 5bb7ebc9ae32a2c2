//! Beginning a move of an instance's database (DBS-33): asked for by an admin, by a change of the plan, or by the draining of a pool. The worker
//! does it as operation `move_database`.

use instance::domain::{OperationKind, decide_move};
use instance::store::instances::Extra;
use instance::store::operations::NewOperation;
use instance::store::{Scope, audit, events, instances, operations};
use serde_json::json;
use uuid::Uuid;

use super::who::Who;
use super::{App, RACES, act};
use crate::error::Error;

/// Where to, and why.
#[derive(Debug, Clone, Default)]
pub struct Target {
    /// Id or name of a pool; `None`: database-service chooses.
    pub pool: Option<String>,
    /// Onto a server of its own.
    pub dedicated: bool,
    /// Tier of the database from now on (`starter` … `enterprise`); `None`: as it is.
    pub tier: Option<String>,
    /// The drain that it is part of.
    pub drain: Option<Uuid>,
    /// For the audit log.
    pub reason: String,
}

/// What the worker reads.
fn parameters(target: &Target) -> serde_json::Value {
    let mut parameters = json!({
        "target_pool": target.pool,
        "dedicated": target.dedicated,
        "plan_tier": target.tier,
        "reason": target.reason,
    });
    if let Some(drain) = target.drain {
        parameters["drain"] = json!(drain);
    }
    parameters
}

/// Queues the operation; its id.
pub async fn begin(app: &App, who: &Who, id: Uuid, target: &Target) -> Result<Uuid, Error> {
    for _ in 0..RACES {
        let now = runtime::clock::now();
        let mut tx = app.pool.begin().await?;
        let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
        let before = &found.instance;
        let change = decide_move(before, act::active(&found), who.kind)?;
        let extra = Extra {
            suspended_reason: None,
            purge_after: before.purge_after,
            restarted_at: None,
            billing_status: None,
        };
        if !instances::save_change(&mut tx, before, &change, &extra, now).await? {
            continue;
        }
        let new = NewOperation {
            kind: OperationKind::MoveDatabase,
            requested_by: who.actor.clone(),
            parameters: parameters(target),
            request_id: who.request_id.clone(),
            can_be_taken_back: true,
        };
        let operation = operations::insert(&mut tx, before, new, now).await?.id;
        let text = "the database moves to another server";
        events::add(&mut tx, id, "operation_requested", who.cause(), text, Some(operation), now).await?;
        if who.is_audited_for(before.customer_id) {
            audit::add(&mut tx, &who.entry("move_database", Some(id), &target.reason)).await?;
        }
        tx.commit().await?;
        return Ok(operation);
    }
    Err(Error::Conflict)
}
