//! Operations, and the operators' views of instances and monitoring.

use std::collections::BTreeMap;

use contracts::instance::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::instance::Failure;
use super::scalars::{Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct Step {
    #[schema(example = "database")]
    pub name: String,
    /// pending, running, succeeded, failed, skipped, undone
    #[schema(example = "succeeded")]
    pub state: String,
    pub started_at: Option<Time>,
    pub finished_at: Option<Time>,
    pub attempts: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Operation {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Uuid)]
    pub instance_id: String,
    #[schema(example = "create")]
    pub kind: String,
    /// queued, running, succeeded, failed, cancelled
    #[schema(example = "running")]
    pub state: String,
    #[schema(minimum = 0, maximum = 100, example = 40)]
    pub progress: u32,
    /// The step now.
    #[schema(example = "workload")]
    pub step: Option<String>,
    pub steps: Vec<Step>,
    pub attempts: u32,
    pub deadline: Option<Time>,
    pub error: Option<Failure>,
    pub cancellable: bool,
    #[schema(example = "customer")]
    pub requested_by: String,
    pub created_at: Option<Time>,
    pub finished_at: Option<Time>,
}

impl From<pb::Operation> for Operation {
    fn from(operation: pb::Operation) -> Self {
        Self {
            deadline: time(operation.deadline.as_ref()),
            created_at: time(operation.created_at.as_ref()),
            finished_at: time(operation.finished_at.as_ref()),
            id: operation.id,
            instance_id: operation.instance_id,
            kind: operation.kind,
            state: operation.state,
            progress: operation.progress,
            step: text(operation.step),
            steps: operation
                .steps
                .into_iter()
                .map(|step| Step {
                    started_at: time(step.started_at.as_ref()),
                    finished_at: time(step.finished_at.as_ref()),
                    name: step.name,
                    state: step.state,
                    attempts: step.attempts,
                })
                .collect(),
            attempts: operation.attempts,
            error: operation.error.map(Failure::from),
            cancellable: operation.cancellable,
            requested_by: operation.requested_by,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OperationList {
    pub operations: Vec<Operation>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InstanceStats {
    pub total: u64,
    pub by_status: BTreeMap<String, u64>,
    pub by_plan: BTreeMap<String, u64>,
    pub by_version: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrphanObject {
    #[schema(example = "Service")]
    pub kind: String,
    #[schema(example = "odoo-instances")]
    pub namespace: String,
    #[schema(example = "odoo-0196f0c0")]
    pub name: String,
    #[schema(format = Uuid)]
    pub instance_id: Option<String>,
}

/// What no row explains. Databases are listed by database-service when its clean-up comes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Orphans {
    pub objects: Vec<OrphanObject>,
    pub databases: Vec<OrphanObject>,
    pub volumes: Vec<OrphanObject>,
}

impl From<pb::ListOrphansResponse> for Orphans {
    fn from(answer: pb::ListOrphansResponse) -> Self {
        let all = answer.objects.into_iter().map(|object| OrphanObject {
            kind: object.kind,
            namespace: object.namespace,
            name: object.name,
            instance_id: text(object.instance_id),
        });
        let (volumes, objects) = all
            .partition(|object| matches!(object.kind.as_str(), "PersistentVolumeClaim" | "PersistentVolume"));
        Self { objects, databases: Vec::new(), volumes }
    }
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Only list; the default.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub dry_run: bool,
    #[schema(min_length = 5, max_length = 500, example = "retention is over")]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Purged {
    pub dry_run: bool,
    pub instance_ids: Vec<String>,
    /// Those of a dry run that the platform keeps until somebody agrees: no backup of them was made.
    pub awaiting_consent: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Monitoring {
    /// running, stopped
    #[schema(example = "running")]
    pub status: String,
    pub enabled: bool,
    #[schema(example = "instance-worker-0")]
    pub leader: Option<String>,
    pub watch_connected: bool,
    pub last_event_at: Option<Time>,
    pub last_relist_at: Option<Time>,
    #[schema(example = "48151")]
    pub resource_version: Option<String>,
    pub reconnects: u64,
    pub instances_tracked: u64,
    pub queue_depth: u64,
}

impl From<pb::GetMonitoringResponse> for Monitoring {
    fn from(answer: pb::GetMonitoringResponse) -> Self {
        Self {
            last_event_at: time(answer.last_event_at.as_ref()),
            last_relist_at: time(answer.last_relist_at.as_ref()),
            status: answer.status,
            enabled: answer.enabled,
            leader: text(answer.leader),
            watch_connected: answer.watch_connected,
            resource_version: text(answer.resource_version),
            reconnects: answer.reconnects,
            instances_tracked: answer.instances_tracked,
            queue_depth: answer.queue_depth,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MonitoringChange {
    #[schema(example = "running")]
    pub status: String,
    pub changed: bool,
    #[schema(example = "monitoring runs")]
    pub message: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ReconcileInstances)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    /// Only list the differences.
    #[serde(default)]
    pub dry_run: bool,
    pub instance_id: Option<Uuid>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    #[schema(format = Uuid)]
    pub instance_id: Option<String>,
    #[schema(example = "Service/odoo-0196f0c0")]
    pub object: String,
    /// missing, changed, orphan
    #[schema(example = "missing")]
    pub kind: String,
    pub detail: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Differences {
    pub differences: Vec<Difference>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Task {
    #[schema(format = Uuid)]
    pub task_id: Option<String>,
}
