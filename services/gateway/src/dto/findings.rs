//! What the audit of the books found.

use std::collections::BTreeMap;

use contracts::billing::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use super::scalars::{Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct Finding {
    #[schema(format = Uuid)]
    pub id: String,
    /// `journal_unbalanced`, `total_differs`, `balance_differs`, `payment_differs`, `credit_differs`, `number_missing`,
    /// `subscription_without_instance`, `instance_without_subscription`
    #[schema(example = "balance_differs")]
    pub kind: String,
    /// Journal entry, invoice, payment, subscription or instance
    #[schema(format = Uuid)]
    pub subject_id: Option<String>,
    #[schema(format = Uuid)]
    pub customer_id: Option<String>,
    #[schema(example = "INV-000042: balance 900, journal 800")]
    pub detail: String,
    /// open, resolved
    #[schema(example = "open")]
    pub state: String,
    pub first_seen_at: Option<Time>,
    pub last_seen_at: Option<Time>,
    /// The first run that did not find it any more
    pub resolved_at: Option<Time>,
    pub acknowledged_at: Option<Time>,
    #[schema(format = Uuid)]
    pub acknowledged_by: Option<String>,
    pub acknowledge_reason: Option<String>,
}

impl From<pb::Finding> for Finding {
    fn from(finding: pb::Finding) -> Self {
        Self {
            first_seen_at: time(finding.first_seen_at.as_ref()),
            last_seen_at: time(finding.last_seen_at.as_ref()),
            resolved_at: time(finding.resolved_at.as_ref()),
            acknowledged_at: time(finding.acknowledged_at.as_ref()),
            subject_id: text(finding.subject_id),
            customer_id: text(finding.customer_id),
            acknowledged_by: text(finding.acknowledged_by),
            acknowledge_reason: text(finding.acknowledge_reason),
            id: finding.id,
            kind: finding.kind,
            detail: finding.detail,
            state: finding.state,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FindingList {
    pub success: bool,
    pub findings: Vec<Finding>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OneFinding {
    pub success: bool,
    pub finding: Finding,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditRun {
    #[schema(format = Uuid)]
    pub id: String,
    /// Of a run that was ordered; absent: the nightly one
    #[schema(format = Uuid)]
    pub task_id: Option<String>,
    /// running, done, failed
    #[schema(example = "done")]
    pub state: String,
    /// How many of each kind were found
    #[schema(example = json!({"balance_differs": 0}))]
    pub counts: BTreeMap<String, i64>,
    /// Why it failed
    pub reason: Option<String>,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
}

impl From<pb::AuditRun> for AuditRun {
    fn from(run: pb::AuditRun) -> Self {
        Self {
            started_at: time(run.started_at.as_ref()),
            finished_at: time(run.finished_at.as_ref()),
            task_id: text(run.task_id),
            reason: text(run.reason),
            counts: run.counts.into_iter().collect(),
            id: run.id,
            state: run.state,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditRunList {
    pub success: bool,
    pub audits: Vec<AuditRun>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}
