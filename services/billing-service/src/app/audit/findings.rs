//! What admins do about findings of the audit (BIL-37).

use time::OffsetDateTime;
use uuid::Uuid;

use super::run as audit_run;
use crate::app::App;
use crate::app::caller::Caller;
use crate::error::Error;
use crate::store::audit;
use crate::store::findings::{self, Kept};
use crate::store::tasks;

/// Somebody knows of it and says why it is there. It stays open until a run does not find it any more, and
/// alerts no more until a run finds something new about it.
pub async fn acknowledge(app: &App, by: &Caller, id: Uuid, now: OffsetDateTime) -> Result<Kept, Error> {
    let mut tx = app.pool.begin().await?;
    let known = findings::acknowledge(&mut *tx, id, &by.actor, &by.reason, now).await?;
    let kept = findings::find(&mut *tx, id).await?.ok_or(Error::NotFound("finding"))?;
    if !known {
        return Err(Error::Refused("invalid_state", "the finding is resolved or acknowledged already"));
    }
    let details = serde_json::json!({ "kind": kept.kind, "subject_id": kept.subject_id });
    audit::write(&mut tx, &by.audit_of_hook("finding_acknowledged", kept.customer_id, id, details)).await?;
    tx.commit().await?;
    // The other replicas hear of it with their next look.
    audit_run::tell(app).await?;
    Ok(kept)
}

/// Wants the audit now, of everything; the next sweep of a replica does it.
pub async fn order(app: &App, by: &Caller) -> Result<Uuid, Error> {
    let mut tx = app.pool.begin().await?;
    let task = tasks::queue(&mut *tx, "reconcile", None, &by.actor).await?;
    audit::write(&mut tx, &by.audit_of_hook("audit_ordered", None, task, serde_json::json!({}))).await?;
    tx.commit().await?;
    Ok(task)
}
