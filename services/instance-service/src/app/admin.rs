//! Operators' use cases (INS-38): failures, retry, counts, orphans, purge.

use contracts::worker::v1::ClusterDifference;
use instance::domain::{Action, OperationState, Status, decide_retry};
use instance::store::instances::{Filter, Found, Sort};
use instance::store::reports::{self, Stats};
use instance::store::{self, Scope, audit, consents, instances, operations};
use runtime::page::Page;
use uuid::Uuid;

use super::act::{self, Accepting, Acted, ActionRequest};
use super::caller::Caller;
use super::{App, RACES};
use crate::error::Error;

/// Purges that one call begins at most.
const PURGES: i64 = 500;

/// Instances in `error`, newest first.
pub async fn failed(app: &App, page: Page) -> Result<(Vec<Found>, u64), Error> {
    let filter = Filter {
        scope: Scope::All,
        status: vec![Status::Error],
        query: String::new(),
        sort: Sort::NewestFirst,
        limit: page.limit(),
        offset: page.offset(),
    };
    let mut connection = app.pool.acquire().await?;
    Ok(instances::list(&mut connection, &filter).await?)
}

/// Repeats what failed last.
pub async fn retry(app: &App, caller: &Caller, id: Uuid, reason: Option<String>) -> Result<Acted, Error> {
    let request = ActionRequest { reason, ..ActionRequest::default() };
    for _ in 0..RACES {
        let mut tx = app.pool.begin().await?;
        let now = store::now(&mut tx).await?;
        let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
        let newest = operations::newest(&mut tx, id).await?;
        let failed = newest.filter(|(_, state)| *state != OperationState::Succeeded).map(|(kind, _)| kind);
        let decision = decide_retry(&found.instance, act::active(&found), failed, caller.kind)?;
        let action = Action::Retry;
        let accepting = Accepting { app, caller, before: &found.instance, action, request: &request, now };
        if let Some(acted) = accepting.carry_out(&mut tx, &decision).await? {
            tx.commit().await?;
            return Ok(acted);
        }
    }
    Err(Error::Conflict)
}

/// True counts.
pub async fn stats(app: &App) -> Result<Stats, Error> {
    let mut connection = app.pool.acquire().await?;
    Ok(reports::stats(&mut connection).await?)
}

/// Objects of ours without a row (K8S-31).
pub async fn orphans(app: &App) -> Result<Vec<ClusterDifference>, Error> {
    let differences = app.worker.compare(None).await?;
    Ok(differences.into_iter().filter(|difference| difference.kind == "orphan").collect())
}

/// What a purge begins with, or would.
#[derive(Debug, Clone)]
pub struct Purged {
    /// Their retention has passed.
    pub instances: Vec<Uuid>,
    /// Those of them that the sweep leaves alone: nobody has said that their data may go without a backup.
    pub awaiting_consent: Vec<Uuid>,
}

/// Ids whose retention has passed; without `dry_run`, their purges begin. The administrator's reason is the
/// word that the data may go without a backup (INS-26).
pub async fn purge(app: &App, caller: &Caller, dry_run: bool, reason: &str) -> Result<Purged, Error> {
    let mut connection = app.pool.acquire().await?;
    let now = store::now(&mut connection).await?;
    let expired = instances::expired(&mut connection, now, PURGES).await?;
    if dry_run {
        let awaiting_consent = consents::among(&mut connection, &expired).await?;
        return Ok(Purged { instances: expired, awaiting_consent });
    }
    let reason = act::check_reason(Some(reason))?;
    // The wish itself is a fact, also when nothing is due.
    audit::add(&mut connection, &caller.entry("purge_expired", None, reason)).await?;
    drop(connection);
    let request = ActionRequest { reason: Some(reason.to_owned()), ..ActionRequest::default() };
    let mut begun = Vec::with_capacity(expired.len());
    for id in expired {
        match act::act(app, caller, id, Action::Purge, &request).await {
            Ok(_) => begun.push(id),
            Err(error) => tracing::info!(instance.id = %id, reason = error.reason(), "not purged"),
        }
    }
    Ok(Purged { instances: begun, awaiting_consent: Vec::new() })
}
