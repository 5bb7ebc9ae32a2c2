//! Beginning the change of an instance's database password (DBS-32). The worker does it as operation
//! `rotate_password`.

use instance::domain::{OperationKind, decide_rotation};
use instance::store::{self, Scope, instances};
use serde_json::json;
use uuid::Uuid;

use super::caller::Caller;
use super::maintenance::{Work, queue};
use super::{App, RACES, act};
use crate::error::Error;

/// Queues the operation; its id.
pub async fn begin(app: &App, caller: &Caller, id: Uuid, reason: &str) -> Result<Uuid, Error> {
    for _ in 0..RACES {
        let mut tx = app.pool.begin().await?;
        let now = store::now(&mut tx).await?;
        let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
        let change = decide_rotation(&found.instance, act::active(&found), caller.kind)?;
        let work = Work {
            kind: OperationKind::RotatePassword,
            parameters: json!({ "reason": reason }),
            text: "the password of the database is changed",
            reason,
        };
        let Some(operation) = queue(&mut tx, caller, &found, &change, work, now).await? else { continue };
        tx.commit().await?;
        return Ok(operation);
    }
    Err(Error::Conflict)
}
