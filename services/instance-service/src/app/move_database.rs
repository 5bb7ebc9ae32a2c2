//! Beginning a move of an instance's database (DBS-33): asked for by an admin, by a change of the plan, or by
//! the draining of a pool. The worker does it as operation `move_database`.

use instance::domain::{ActorKind, OperationKind, decide_move};
use instance::store::{self, Scope, instances, wishes};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::caller::Caller;
use super::maintenance::{Work, queue};
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

impl Target {
    /// What a change of the plan wants.
    pub(super) fn of_plan(db_type: &str, db_tier: &str) -> Self {
        Self {
            pool: None,
            dedicated: db_type == "dedicated",
            tier: Some(db_tier.to_owned()),
            reason: "the plan changed".to_owned(),
            drain: None,
        }
    }

    /// What the worker reads.
    pub(super) fn parameters(&self) -> serde_json::Value {
        let mut parameters = json!({
            "target_pool": self.pool,
            "dedicated": self.dedicated,
            "plan_tier": self.tier,
            "reason": self.reason,
        });
        if let Some(drain) = self.drain {
            parameters["drain"] = json!(drain);
        }
        parameters
    }
}

/// Moves that plans wished and that could not begin at once, or did not succeed (REL-04).
pub async fn begin_wished(app: &App, limit: i64) -> Result<(), Error> {
    let mut connection = app.pool.acquire().await?;
    let now = store::now(&mut connection).await?;
    let due = wishes::due(&mut connection, now, limit).await?;
    drop(connection);
    for wish in due {
        let target = Target::of_plan(&wish.db_type, &wish.db_tier);
        match begin(app, &Caller::platform(), wish.instance_id, &target).await {
            Ok(operation) => {
                tracing::info!(instance.id = %wish.instance_id, operation.id = %operation, "the wished move begins");
            }
            Err(error) => {
                tracing::info!(instance.id = %wish.instance_id, reason = error.reason(), "not moved yet");
            }
        }
    }
    Ok(())
}

/// Queues the operation; its id.
pub async fn begin(app: &App, caller: &Caller, id: Uuid, target: &Target) -> Result<Uuid, Error> {
    for _ in 0..RACES {
        let mut tx = app.pool.begin().await?;
        if let Some(operation) = begin_within(&mut tx, caller, id, target).await? {
            tx.commit().await?;
            return Ok(operation);
        }
    }
    Err(Error::Conflict)
}

/// The same in the caller's transaction. `None`: somebody else has changed the instance; nothing was written.
pub(super) async fn begin_within(
    connection: &mut PgConnection,
    caller: &Caller,
    id: Uuid,
    target: &Target,
) -> Result<Option<Uuid>, Error> {
    let now = store::now(connection).await?;
    let found = instances::find(connection, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
    let change = decide_move(&found.instance, act::active(&found), caller.kind)?;
    let work = Work {
        kind: OperationKind::MoveDatabase,
        parameters: target.parameters(),
        text: "the database moves to another server",
        reason: &target.reason,
    };
    let Some(operation) = queue(connection, caller, &found, &change, work, now).await? else {
        return Ok(None);
    };
    if caller.kind == ActorKind::Admin {
        // An operator decides on the place: what the plan wished is settled with it.
        wishes::clear(connection, id).await?;
    } else {
        wishes::begun(connection, id, now).await?;
    }
    Ok(Some(operation))
}
