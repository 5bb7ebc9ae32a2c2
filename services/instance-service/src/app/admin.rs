//! Operators' use cases (INS-38): failures, retry, counts, orphans, purge.

use contracts::worker::v1::ClusterDifference;
use instance::domain::{Action, OperationState, Status, decide_retry};
use instance::store::instances::{Filter, Found, Sort};
use instance::store::reports::{self, Stats};
use instance::store::{Scope, audit, instances, operations};
use runtime::page::Page;
use uuid::Uuid;

use super::act::{self, Acted, Wish};
use super::who::Who;
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
pub async fn retry(app: &App, who: &Who, id: Uuid, reason: Option<String>) -> Result<Acted, Error> {
    let wish = Wish { reason, ..Wish::default() };
    for _ in 0..RACES {
        let now = runtime::clock::now();
        let mut tx = app.pool.begin().await?;
        let found = instances::find(&mut tx, id, Scope::All).await?.ok_or(Error::NotFound("instance"))?;
        let newest = operations::newest(&mut tx, id).await?;
        let failed = newest.filter(|(_, state)| *state != OperationState::Succeeded).map(|(kind, _)| kind);
        let decision = decide_retry(&found.instance, act::active(&found), failed, who.kind)?;
        let acted = act::carry_out(&mut tx, app, who, &found, Action::Retry, &wish, &decision, now).await?;
        if let Some(acted) = acted {
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

/// Ids whose retention has passed; without `dry_run`, their purges begin.
pub async fn purge(app: &App, who: &Who, dry_run: bool, reason: &str) -> Result<Vec<Uuid>, Error> {
    let now = runtime::clock::now();
    let mut connection = app.pool.acquire().await?;
    let expired = instances::expired(&mut connection, now, PURGES).await?;
    if dry_run {
        return Ok(expired);
    }
    let reason = act::check_reason(Some(reason))?;
    // The wish itself is a fact, also when nothing is due.
    audit::add(&mut connection, &who.entry("purge_expired", None, reason)).await?;
    drop(connection);
    let wish = Wish { reason: Some(reason.to_owned()), ..Wish::default() };
    let mut begun = Vec::with_capacity(expired.len());
    for id in expired {
        match act::act(app, who, id, Action::Purge, &wish).await {
            Ok(_) => begun.push(id),
            Err(error) => tracing::info!(instance.id = %id, reason = error.reason(), "not purged"),
        }
    }
    Ok(begun)
}
