//! An instance as the database holds it.

use std::collections::BTreeMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    BillingStatus, DesiredState, Limits, OperationKind, OperationState, ProvisioningStatus, Status, Step,
};

/// What the watch saw last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// pending, running, failed, not_found.
    pub phase: String,
    /// The pod is ready.
    pub ready: bool,
    /// Restarts of the container.
    pub restarts: i32,
    /// Reason word of the cluster, such as `CrashLoopBackOff`.
    pub reason: String,
    /// Node of the pod.
    pub node: String,
    /// Address of the pod.
    pub pod_ip: String,
    /// Start of the pod.
    pub started_at: Option<OffsetDateTime>,
    /// When this was seen.
    pub at: Option<OffsetDateTime>,
}

/// Why an instance is in `error`; safe for the customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Reason word.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Since when.
    pub at: Option<OffsetDateTime>,
}

/// Its database, once allocated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Real name (INS-11).
    pub name: String,
    /// Host as the pod sees it.
    pub host: String,
    /// Port.
    pub port: i32,
    /// Row of `db_servers`.
    pub server_id: Uuid,
}

/// Who keeps an instance suspended. Each side sets and takes away its own; it runs again when none is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holds {
    /// Overdue invoices.
    pub billing: bool,
    /// An operator, for abuse.
    pub operator: bool,
}

impl Holds {
    /// Is it held at all?
    pub const fn any(self) -> bool {
        self.billing || self.operator
    }
}

/// A row of `instances`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Identifier; also of the order in billing.
    pub id: Uuid,
    /// Owner.
    pub customer_id: Uuid,
    /// Its subscription.
    pub subscription_id: Option<Uuid>,
    /// Plan name.
    pub plan: String,
    /// basic, standard, premium, enterprise.
    pub plan_tier: String,
    /// starter, standard, premium, enterprise: what database-service is asked for.
    pub db_tier: String,
    /// Display name.
    pub name: String,
    /// Display text.
    pub description: String,
    /// Major version.
    pub odoo_version: String,
    /// development, staging, production.
    pub instance_type: String,
    /// What the customer sees.
    pub status: Status,
    /// What shall be.
    pub desired_state: DesiredState,
    /// Where an end of the suspension leads back to.
    pub desired_before_suspend: Option<DesiredState>,
    /// Who keeps it suspended.
    pub holds: Holds,
    /// Safe text.
    pub suspended_reason: Option<String>,
    /// Standing of the subscription.
    pub billing_status: BillingStatus,
    /// How far the first provisioning is.
    pub provisioning_status: ProvisioningStatus,
    /// Version of the wanted objects.
    pub generation: i64,
    /// Version that is applied.
    pub observed_generation: i64,
    /// What the watch saw last.
    pub observed: Observed,
    /// CPU, memory, storage.
    pub limits: Limits,
    /// Host name under `BASE_DOMAIN`.
    pub subdomain: String,
    /// Contact, and login of the tenant's administrator.
    pub admin_email: String,
    /// Fill the new database with demonstration data.
    pub demo_data: bool,
    /// The client's label.
    pub display_database_name: String,
    /// shared, dedicated.
    pub db_type: String,
    /// Once allocated.
    pub database: Option<Database>,
    /// Name of the Deployment.
    pub deployment_name: String,
    /// Name of the Service.
    pub service_name: String,
    /// URL inside the cluster.
    pub internal_url: String,
    /// URL for people.
    pub external_url: String,
    /// Why it is in `error`.
    pub error: Option<Failure>,
    /// Value of the restart annotation.
    pub restarted_at: Option<OffsetDateTime>,
    /// End of the retention.
    pub purge_after: Option<OffsetDateTime>,
    /// Last probe.
    pub last_health_check: Option<OffsetDateTime>,
    /// Labels of the customer.
    pub labels: BTreeMap<String, String>,
    /// The first credentials can be revealed until then (INS-37).
    pub credentials_until: OffsetDateTime,
    /// They were revealed.
    pub credentials_revealed_at: Option<OffsetDateTime>,
    /// Optimistic lock.
    pub version: i64,
    /// Order.
    pub created_at: OffsetDateTime,
    /// Last change.
    pub updated_at: OffsetDateTime,
    /// Last time it became ready.
    pub started_at: Option<OffsetDateTime>,
}

impl Instance {
    /// Was it ever running? If not, there is nothing to start or stop, only to create.
    pub fn is_provisioned(&self) -> bool {
        self.provisioning_status == ProvisioningStatus::Completed
    }
}

/// A row of `operations`, as readers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Identifier.
    pub id: Uuid,
    /// Its instance.
    pub instance_id: Uuid,
    /// What it does.
    pub kind: OperationKind,
    /// How far it is.
    pub state: OperationState,
    /// Name of the step now.
    pub step: String,
    /// All steps.
    pub steps: Vec<Step>,
    /// Percent.
    pub progress: u8,
    /// How often it was claimed.
    pub attempts: i32,
    /// When it must have ended.
    pub deadline: OffsetDateTime,
    /// The customer wants it to end.
    pub cancel_requested: bool,
    /// Status before it was accepted.
    pub status_before: Option<Status>,
    /// Desired state before it was accepted.
    pub desired_before: Option<DesiredState>,
    /// Safe reason and text.
    pub error: Option<Failure>,
    /// Customer id or service name.
    pub requested_by: String,
    /// What the action carried.
    pub parameters: serde_json::Value,
    /// Grows with each visible change.
    pub revision: i64,
    /// Acceptance.
    pub created_at: OffsetDateTime,
    /// First claim.
    pub started_at: Option<OffsetDateTime>,
    /// End.
    pub finished_at: Option<OffsetDateTime>,
}

impl Operation {
    /// A queued one that nothing was done for, and whose instance can go back to where it stood. One that
    /// pre-empted another cannot.
    pub fn can_be_taken_back(&self) -> bool {
        self.state == OperationState::Queued
            && self.attempts == 0
            && self.status_before.is_some()
            && self.kind.cancellable_when_queued()
            && !self.undone_by_worker()
    }

    /// Even before it began, the worker ends it: a fact must be announced, or the retention runs again.
    fn undone_by_worker(&self) -> bool {
        matches!(self.kind, OperationKind::Create | OperationKind::Undelete)
    }

    /// INS-32: may its owner cancel it now?
    pub fn is_cancellable(&self) -> bool {
        !self.cancel_requested
            && match self.state {
                OperationState::Queued => self.undone_by_worker() || self.can_be_taken_back(),
                OperationState::Running => self.kind.cancellable_when_running(),
                OperationState::Succeeded | OperationState::Failed | OperationState::Cancelled => false,
            }
    }
}
