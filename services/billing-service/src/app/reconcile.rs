//! The audit: books against documents, subscriptions against instances (BIL-33, BIL-37).

use std::collections::HashSet;

use time::OffsetDateTime;
use uuid::Uuid;

use super::Desk;
use crate::error::Error;
use crate::store::{journal, subscriptions, tasks};

/// Subscriptions in one question.
const BATCH: i64 = 200;

/// What an audit found; all are 0 in a healthy platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Entries whose lines do not sum to nothing.
    pub unbalanced: i64,
    /// Invoices whose balance is not what the journal says.
    pub differing: i64,
    /// Live subscriptions whose instance is gone.
    pub without_instance: i64,
}

/// Compares everything, and sets the alerts.
pub async fn audit(desk: &Desk) -> Result<Findings, Error> {
    let findings = audit_of(desk, None).await?;
    desk.metrics.audited("journal_unbalanced", findings.unbalanced);
    desk.metrics.audited("balance_differs", findings.differing);
    desk.metrics.audited("subscription_without_instance", findings.without_instance);
    Ok(findings)
}

/// Compares what is one customer's, or everything. The alerts are about everybody, so that a look at one customer leaves them alone.
pub async fn audit_of(desk: &Desk, customer: Option<Uuid>) -> Result<Findings, Error> {
    let mut findings = Findings {
        unbalanced: journal::unbalanced_of(&desk.pool, customer).await?,
        differing: journal::receivable_differences_of(&desk.pool, customer).await?,
        without_instance: 0,
    };
    let (mut after, mut seen) = (Uuid::nil(), HashSet::new());
    loop {
        let ids = subscriptions::live_ids(&desk.pool, customer, after, BATCH).await?;
        let Some(last) = ids.last() else { break };
        after = *last;
        for id in ids {
            match desk.peers.instance_exists(id).await {
                Ok(true) => {}
                Ok(false) => {
                    findings.without_instance += 1;
                    tracing::error!(subscription.id = %id, "a live subscription has no instance");
                }
                Err(status) => {
                    tracing::warn!(code = ?status.code(), "the audit cannot ask for instances now");
                    return Err(Error::PeerAway("instance-service"));
                }
            }
            seen.insert(id);
        }
    }
    tracing::info!(subscriptions = seen.len(), ?findings, "audit done");
    Ok(findings)
}

/// Tasks that operators asked for.
pub async fn run_tasks(desk: &Desk, now: OffsetDateTime) -> Result<(), Error> {
    for task in tasks::queued(&desk.pool, 10).await? {
        let found = match task.customer_id {
            None => audit(desk).await,
            some => audit_of(desk, some).await,
        };
        let (state, outcome) = match found {
            Ok(found) => (
                "done",
                serde_json::json!({
                    "unbalanced": found.unbalanced,
                    "differing": found.differing,
                    "without_instance": found.without_instance,
                }),
            ),
            Err(error) => ("failed", serde_json::json!({ "reason": error.reason() })),
        };
        tasks::finish(&desk.pool, task.id, state, outcome, now).await?;
    }
    Ok(())
}
