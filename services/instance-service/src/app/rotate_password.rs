//! Beginning the change of an instance's database password (DBS-32). The worker does it as operation `rotate_password`.

use instance::domain::{OperationKind, decide_rotation};
use instance::store::instances::Extra;
use instance::store::operations::NewOperation;
use instance::store::{Scope, audit, events, instances, operations};
use serde_json::json;
use uuid::Uuid;

use super::who::Who;
use super::{App, RACES, act};
use crate::error::Error;

/// Queues the operation; its id.
pub async fn begin(app: &App, who: &Who, id: Uuid, reason: &str) -> Result<Uuid, Error> {
    for _ in 0..RACES {
        let now = runtime::clock::now();
        let mut tx = app.pool.begin().await?;
        let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
        let before = &found.instance;
        let change = decide_rotation(before, act::active(&found), who.kind)?;
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
            kind: OperationKind::RotatePassword,
            requested_by: who.actor.clone(),
            parameters: json!({ "reason": reason }),
            request_id: who.request_id.clone(),
            can_be_taken_back: true,
        };
        let operation = operations::insert(&mut tx, before, new, now).await?.id;
        let text = "the password of the database is changed";
        events::add(&mut tx, id, "operation_requested", who.cause(), text, Some(operation), now).await?;
        if who.is_audited_for(before.customer_id) {
            audit::add(&mut tx, &who.entry("rotate_password", Some(id), reason)).await?;
        }
        tx.commit().await?;
        return Ok(operation);
    }
    Err(Error::Conflict)
}
