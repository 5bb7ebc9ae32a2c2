//! The audit: books against documents, subscriptions against instances, both ways (BIL-33, BIL-37). At night
//! by the replica that takes it, and whenever an admin wants it. What it finds stays in rows, and is an alert
//! on every replica until a later run finds nothing, or somebody knows of it.

use std::collections::BTreeMap;
use std::time::Duration;

use time::{OffsetDateTime, Time};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::app::App;
use crate::domain::audit::{Finding, FindingKind, LiveInstance, LiveSubscription, compare, counts};
use crate::error::Error;
use crate::store::{audits, findings};

/// Name of the scheduled run.
const NAME: &str = "audit";
/// Rows in one question.
const BATCH: u16 = 500;
/// How long a run is its replica's.
const HOLD: time::Duration = time::Duration::minutes(30);
/// After a run that could not be finished.
const AGAIN: time::Duration = time::Duration::minutes(10);
/// An instance lives on for a moment after its subscription: the word must reach it first.
const GRACE: time::Duration = time::Duration::hours(1);
/// Between two looks at the schedule.
const LOOK: Duration = Duration::from_secs(30);

/// Runs it each night at `hour` (UTC) until `stop`, on one replica; all replicas tell what the last run
/// found.
pub async fn run(app: App, hour: u8, stop: CancellationToken) -> anyhow::Result<()> {
    loop {
        if let Err(error) = look(&app, hour, app.real_now().await).await {
            tracing::warn!(error = format!("{error:#}"), "the audit could not be done, trying again");
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// One look at the schedule at `now`, in real time. `true`: the run was due and was done here.
pub async fn look(app: &App, hour: u8, now: OffsetDateTime) -> Result<bool, Error> {
    let mine = audits::claim(&app.pool, NAME, now, now + HOLD).await?;
    if mine {
        match audit(app, "schedule", now).await {
            Ok(_) => audits::set_due(&app.pool, NAME, next_night(now, hour)).await?,
            Err(error) => {
                audits::set_due(&app.pool, NAME, now + AGAIN).await?;
                return Err(error);
            }
        }
    }
    tell(app).await?;
    Ok(mine)
}

/// The next time that it is `hour` o'clock.
fn next_night(now: OffsetDateTime, hour: u8) -> OffsetDateTime {
    let now = now.to_offset(time::UtcOffset::UTC);
    let tonight = now.replace_time(Time::from_hms(hour.min(23), 0, 0).unwrap_or(Time::MIDNIGHT));
    if tonight > now { tonight } else { tonight + time::Duration::days(1) }
}

/// Compares everything; keeps and tells what it finds.
pub async fn audit(app: &App, cause: &str, now: OffsetDateTime) -> Result<Vec<Finding>, Error> {
    let run = audits::begin(&app.pool, cause, now).await?;
    let outcome = find(app).await;
    match outcome {
        Ok(found) => {
            let (counts, now) = (counts(&found), app.real_now().await);
            let mut tx = app.pool.begin().await?;
            // Of more than can be listed nobody knows which ones are gone.
            let looked: Vec<_> =
                counts.iter().filter(|(_, count)| **count < audits::MOST).map(|(kind, _)| *kind).collect();
            findings::take(&mut tx, run, &found, &looked, now).await?;
            audits::finish(&mut tx, run, words(&counts), &found, now).await?;
            tx.commit().await?;
            for (kind, subject) in tell(app).await? {
                tracing::error!(audit.id = %run, kind, subject.id = ?subject, "the audit found something wrong");
            }
            tracing::info!(audit.id = %run, findings = found.len(), cause, "audit done");
            Ok(found)
        }
        Err(error) => {
            audits::fail(&app.pool, run, error.reason(), app.real_now().await).await?;
            Err(error)
        }
    }
}

/// Counts by their words.
pub fn words(counts: &BTreeMap<FindingKind, i64>) -> serde_json::Value {
    counts.iter().map(|(kind, count)| (kind.as_str().to_owned(), serde_json::json!(count))).collect()
}

/// Sets the alerts to what is wrong and known to nobody, whichever replica found it: kind and subject of
/// each.
pub async fn tell(app: &App) -> Result<Vec<(String, Option<Uuid>)>, Error> {
    let Some(at) = audits::last(&app.pool).await? else { return Ok(Vec::new()) };
    let unknown = findings::unknown(&app.pool).await?;
    for kind in FindingKind::ALL {
        let count = unknown.iter().filter(|(found, _)| found == kind.as_str()).count();
        app.metrics.audited(kind.as_str(), i64::try_from(count).unwrap_or(i64::MAX));
    }
    app.metrics.audit_ended(at);
    Ok(unknown)
}

async fn find(app: &App) -> Result<Vec<Finding>, Error> {
    let mut found = audits::books(&app.pool).await?;
    let orphans = both_ways(app).await?;
    if !orphans.is_empty() {
        // Both lists move while they are read: only what a second look finds too is a fault.
        let again = both_ways(app).await?;
        let same = |finding: &Finding| {
            again.iter().any(|other| (other.kind, other.subject_id) == (finding.kind, finding.subject_id))
        };
        found.extend(orphans.into_iter().filter(same));
    }
    Ok(found)
}

async fn both_ways(app: &App) -> Result<Vec<Finding>, Error> {
    // Instances first: a subscription is older than its instance.
    let instances = instances(app).await?;
    let subscriptions = subscriptions(app).await?;
    Ok(compare(&subscriptions, &instances))
}

/// All live instances, as instance-service tells them page by page.
pub async fn instances(app: &App) -> Result<Vec<LiveInstance>, Error> {
    let (mut all, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let page = app.clients.live_instances(after, BATCH).await.map_err(|status| {
            tracing::warn!(code = ?status.code(), "the audit cannot ask for instances now");
            Error::PeerAway("instance-service")
        })?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.id;
        all.extend(page);
    }
}

/// All subscriptions that live, or ended a moment ago.
pub async fn subscriptions(app: &App) -> Result<Vec<LiveSubscription>, Error> {
    let ended_after = app.now().await - GRACE;
    let (mut all, mut after) = (Vec::new(), Uuid::nil());
    loop {
        let page = audits::paying(&app.pool, after, ended_after, BATCH.into()).await?;
        let Some(last) = page.last() else { return Ok(all) };
        after = last.id;
        all.extend(page);
    }
}

#[cfg(test)]
mod tests {
    use super::next_night;
    use time::macros::datetime;

    #[test]
    fn a_night_is_always_ahead() {
        let cases = [
            (datetime!(2028-02-28 2:59 UTC), datetime!(2028-02-28 3:00 UTC)),
            (datetime!(2028-02-28 3:00 UTC), datetime!(2028-02-29 3:00 UTC)),
            (datetime!(2028-12-31 23:00 -2), datetime!(2029-01-01 3:00 UTC)),
        ];
        for (now, next) in cases {
            assert_eq!(next_night(now, 3), next, "{now}");
        }
    }
}
