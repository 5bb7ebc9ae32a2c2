//! Beginning the change of an instance's database password (DBS-32). The worker does it as operation
//! `rotate_password`.

use instance::domain::{OperationKind, decide_rotation};
use instance::store::{Scope, instances};
use serde_json::json;
use uuid::Uuid;

use super::maintenance::{Work, queue};
use super::who::Who;
use super::{App, RACES, act};
use crate::error::Error;

/// Queues the operation; its id.
pub async fn begin(app: &App, who: &Who, id: Uuid, reason: &str) -> Result<Uuid, Error> {
    for _ in 0..RACES {
        let now = runtime::clock::now();
        let mut tx = app.pool.begin().await?;
        let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
        let change = decide_rotation(&found.instance, act::active(&found), who.kind)?;
        let work = Work {
            kind: OperationKind::RotatePassword,
            parameters: json!({ "reason": reason }),
            text: "the password of the database is changed",
            reason,
        };
        let Some(operation) = queue(&mut tx, who, &found, &change, work, now).await? else { continue };
        tx.commit().await?;
        return Ok(operation);
    }
    Err(Error::Conflict)
}
