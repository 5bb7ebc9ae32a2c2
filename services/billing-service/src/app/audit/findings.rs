//! What admins do about findings of the audit (BIL-37).

use runtime::page::Page;
use time::OffsetDateTime;
use uuid::Uuid;

use super::run as audit_run;
use crate::app::App;
use crate::app::caller::Caller;
use crate::domain::audit::{AuditRun, FindingFilter, KeptFinding};
use crate::error::Error;
use crate::store::audit;
use crate::store::findings::{self};
use crate::store::tasks;

/// What the cause of an ordered run begins with.
pub const TASK: &str = "task:";

/// Somebody knows of it and says why it is there. It stays open until a run does not find it any more, and
/// alerts no more until a run finds something new about it.
pub async fn acknowledge(
    app: &App,
    by: &Caller,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<KeptFinding, Error> {
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

/// A page of findings, and how many there are.
pub async fn list(app: &App, filter: &FindingFilter, page: Page) -> Result<(Vec<KeptFinding>, i64), Error> {
    Ok(findings::list(&app.pool, filter, page).await?)
}

/// One of them.
pub async fn find(app: &App, id: Uuid) -> Result<KeptFinding, Error> {
    findings::find(&app.pool, id).await?.ok_or(Error::NotFound("finding"))
}

/// A page of the audit's runs, and how many there are; `task`: only those that this task ordered.
pub async fn runs(app: &App, task: Option<String>, page: Page) -> Result<(Vec<AuditRun>, i64), Error> {
    let cause = task.map(|task| format!("{TASK}{task}"));
    Ok(findings::runs(&app.pool, cause, page).await?)
}
