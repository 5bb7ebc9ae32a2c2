//! Queues an operation on an instance's database: the worker does it while the instance is in maintenance.
//! Which one, and when it may, is decided by the callers.

use instance::domain::{Change, OperationKind};
use instance::store::instances::{Found, RowUpdate};
use instance::store::operations::NewOperation;
use instance::store::{audit, events, instances, operations};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::caller::Caller;
use crate::error::Error;

/// What is queued.
#[derive(Debug)]
pub(super) struct Work<'a> {
    /// Which operation.
    pub kind: OperationKind,
    /// What the worker reads.
    pub parameters: serde_json::Value,
    /// For the timeline.
    pub text: &'a str,
    /// For the audit log.
    pub reason: &'a str,
}

/// State, operation, timeline and audit row, in the caller's transaction. `None`: somebody else has changed
/// the instance; look again.
pub(super) async fn queue(
    connection: &mut PgConnection,
    caller: &Caller,
    found: &Found,
    change: &Change,
    work: Work<'_>,
    now: OffsetDateTime,
) -> Result<Option<Uuid>, Error> {
    let before = &found.instance;
    let update = RowUpdate {
        suspended_reason: None,
        purge_after: before.purge_after,
        restarted_at: None,
        billing_status: None,
    };
    if !instances::save_change(connection, before, change, &update, now).await? {
        return Ok(None);
    }
    let new = NewOperation {
        kind: work.kind,
        requested_by: caller.actor.clone(),
        parameters: work.parameters,
        request_id: caller.request_id.clone(),
        can_be_taken_back: true,
    };
    let operation = operations::insert(connection, before, new).await?.id;
    events::add(
        connection,
        before.id,
        "operation_requested",
        caller.cause(before.customer_id),
        work.text,
        Some(operation),
        now,
    )
    .await?;
    if caller.is_audited_for(before.customer_id) {
        audit::add(connection, &caller.entry(work.kind.as_str(), Some(before.id), work.reason)).await?;
    }
    Ok(Some(operation))
}
