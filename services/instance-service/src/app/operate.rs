//! Cancelling an operation (INS-32).

use instance::domain::{ActorKind, Operation};
use instance::store::{self, events, instances, operations};
use uuid::Uuid;

use super::caller::Caller;
use super::{App, RACES};
use crate::error::Error;

/// Takes a queued operation back at once; asks the worker to end and undo one that began.
pub async fn cancel(app: &App, caller: &Caller, instance: Uuid, id: Uuid) -> Result<Operation, Error> {
    for _ in 0..RACES {
        let mut tx = app.pool.begin().await?;
        let now = store::now(&mut tx).await?;
        let found =
            instances::find(&mut tx, instance, caller.scope()).await?.ok_or(Error::NotFound("instance"))?;
        let operation = operations::find(&mut tx, instance, id, caller.scope())
            .await?
            .ok_or(Error::NotFound("operation"))?;
        if caller.kind_towards(found.instance.customer_id) == ActorKind::Operator {
            return Err(Error::Forbidden);
        }
        if !operation.is_cancellable() {
            return Err(Error::NotCancellable);
        }
        let back = (operation.status_before, operation.desired_before);
        let done = match back {
            (Some(status), Some(desired)) if operation.can_be_taken_back() => {
                operations::take_back(&mut tx, id).await?
                    && instances::take_back(&mut tx, &found.instance, status, desired, now).await?
            }
            _ => operations::request_cancel(&mut tx, id).await?,
        };
        if !done {
            continue;
        }
        let text = format!("{} is cancelled", operation.kind);
        events::add(
            &mut tx,
            instance,
            "operation_cancelled",
            caller.cause(found.instance.customer_id),
            &text,
            Some(id),
            now,
        )
        .await?;
        let operation = operations::find(&mut tx, instance, id, caller.scope()).await?;
        tx.commit().await?;
        return operation.ok_or(Error::NotFound("operation"));
    }
    Err(Error::Conflict)
}
