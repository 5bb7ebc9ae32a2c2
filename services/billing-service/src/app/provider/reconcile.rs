//! What operators order: the audit now, not at night, of everything or of one customer (BIL-33, BIL-37).

use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::app::audit::run::{audit, words};
use crate::domain::audit::counts;
use crate::error::Error;
use crate::store::{journal, mirror, subscriptions, tasks};

/// Subscriptions in one question.
const BATCH: i64 = 200;
/// How long a task is its replica's.
const HOLD: time::Duration = time::Duration::minutes(30);

/// What a look at one customer found; all are 0 when all is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Entries whose lines do not sum to nothing.
    pub unbalanced: i64,
    /// Invoices whose balance is not what the journal says.
    pub differing: i64,
    /// Live subscriptions whose instance is gone.
    pub without_instance: i64,
}

/// Compares what is one customer's. The alerts are about everybody, so that they stay as they are.
pub async fn audit_of(app: &App, customer: Uuid) -> Result<Findings, Error> {
    let customer = Some(customer);
    let mut findings = Findings {
        unbalanced: journal::unbalanced_of(&app.pool, customer).await?,
        differing: journal::receivable_differences_of(&app.pool, customer).await?,
        without_instance: 0,
    };
    let (mut after, mut looked_at) = (Uuid::nil(), 0_usize);
    loop {
        let ids = subscriptions::live_ids(&app.pool, customer, after, BATCH).await?;
        let Some(last) = ids.last() else { break };
        after = *last;
        for id in ids {
            match app.clients.instance_exists(id).await {
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
            looked_at += 1;
        }
    }
    tracing::info!(subscriptions = looked_at, ?findings, "one customer looked at");
    Ok(findings)
}

/// Tasks that operators asked for.
pub async fn run_tasks(app: &App, now: OffsetDateTime) -> Result<(), Error> {
    loop {
        let started = app.real_now().await;
        let Some(task) = tasks::claim(&app.pool, started, started + HOLD).await? else { return Ok(()) };
        if !app.provider.is_books_local() {
            // Compared with the provider by the rounds that follow.
            mirror::make_due(&app.pool, task.customer_id).await?;
        }
        let outcome = match task.customer_id {
            None => audit(app, &format!("task:{}", task.id), app.real_now().await)
                .await
                .map(|found| words(&counts(&found))),
            Some(customer) => audit_of(app, customer).await.map(|found| {
                serde_json::json!({
                    "unbalanced": found.unbalanced,
                    "differing": found.differing,
                    "without_instance": found.without_instance,
                })
            }),
        };
        let (state, outcome) = match outcome {
            Ok(outcome) => ("done", outcome),
            Err(error) => ("failed", serde_json::json!({ "reason": error.reason() })),
        };
        tasks::finish(&app.pool, task.id, state, outcome, now).await?;
    }
}

/// Orders a comparison of everything, or of one customer. The id of the task.
pub async fn order(app: &App, actor: &str, customer: Option<Uuid>) -> Result<Uuid, Error> {
    Ok(tasks::queue(&app.pool, "reconcile", customer, actor).await?)
}
