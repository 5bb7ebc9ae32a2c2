//! The status machine of the requirements (part 3, table 3.1) as one pure table (INS-30).

use super::operation::OperationKind;
use super::words::words;

words! {
    /// What the customer sees.
    Status("status") {
        /// Ordered; waits for a trial or a payment.
        PendingPayment => "pending_payment",
        /// Database, Secret, volume, workload are being made.
        Creating => "creating",
        /// Workload applied, Odoo awaited.
        Starting => "starting",
        /// Ready.
        Running => "running",
        /// Pods on their way out.
        Stopping => "stopping",
        /// No pod.
        Stopped => "stopped",
        /// A new pod awaited.
        Restarting => "restarting",
        /// Image or limits change.
        Updating => "updating",
        /// Restore or move of the database.
        Maintenance => "maintenance",
        /// Off, for billing or abuse.
        Suspended => "suspended",
        /// The last operation failed, or the pod crashes again and again.
        Error => "error",
        /// Workload on its way out for good.
        Terminating => "terminating",
        /// Workload gone, data kept until `purge_after`.
        Terminated => "terminated",
        /// Everything gone but the row.
        Purged => "purged",
    }
}

words! {
    /// What shall be.
    DesiredState("desired state") {
        /// One ready pod.
        Running => "running",
        /// No pod.
        Stopped => "stopped",
        /// No pod, and the route says why.
        Suspended => "suspended",
        /// No workload.
        Terminated => "terminated",
    }
}

words! {
    /// Standing of the subscription.
    BillingStatus("billing status") {
        /// No subscription.
        None => "none",
        /// Free for a time.
        Trial => "trial",
        /// Nothing is owed.
        Paid => "paid",
        /// A payment is due.
        PaymentRequired => "payment_required",
        /// The subscription has ended.
        Closed => "closed",
    }
}

words! {
    /// How far the first provisioning is.
    ProvisioningStatus("provisioning status") {
        /// Not begun.
        Pending => "pending",
        /// In work.
        Provisioning => "provisioning",
        /// It has run once.
        Completed => "completed",
        /// It ended without an instance.
        Failed => "failed",
    }
}

words! {
    /// What a caller asks for.
    Action("action") {
        /// Make it run.
        Start => "start",
        /// Take the pod away.
        Stop => "stop",
        /// A new pod.
        Restart => "restart",
        /// Off, for billing or abuse.
        Suspend => "suspend",
        /// End of the suspension.
        Unsuspend => "unsuspend",
        /// Workload away, data kept.
        Terminate => "terminate",
        /// Back from terminated.
        Undelete => "undelete",
        /// Everything away; the platform's, after the retention.
        Purge => "purge",
        /// Limits of the row onto the objects.
        ApplyResources => "apply_resources",
        /// A newer image.
        Upgrade => "upgrade",
        /// A copy.
        Backup => "backup",
        /// From a copy.
        Restore => "restore",
        /// Again what failed (operators).
        Retry => "retry",
    }
}

/// Something that happens to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An operation was accepted; in the transaction that inserts it. The desired state tells where an end of
    /// a suspension leads.
    Accepted(OperationKind, DesiredState),
    /// The workload of a create or undelete stands; Odoo is awaited.
    WorkloadApplied,
    /// The operation ended as wanted; in the transaction that ends it.
    Succeeded(OperationKind, DesiredState),
    /// The operation ended without its aim.
    Failed(OperationKind),
    /// The operation ended by the customer's wish, and is undone.
    Cancelled(OperationKind),
    /// The watch sees a ready pod while no operation is active and the instance shall run.
    BecameReady,
    /// The watch sees a pod that crashes again and again, cannot pull, or was lost, while no operation is
    /// active and the instance shall run.
    Crashed,
}

/// An event that a status does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} does not apply to the status {from}")]
pub struct InvalidTransition {
    /// Status now.
    pub from: Status,
    /// What happened.
    pub event: Event,
}

impl Status {
    /// A movement: an operation or a watch leads out of it, never rest.
    pub const fn is_moving(self) -> bool {
        matches!(
            self,
            Self::Creating
                | Self::Starting
                | Self::Stopping
                | Self::Restarting
                | Self::Updating
                | Self::Maintenance
                | Self::Terminating
        )
    }

    /// Counts against the quota and holds its subscription: everything before `terminated`.
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Terminated | Self::Purged)
    }

    /// Table 3.1: what may be asked for here, whoever asks.
    pub const fn allowed_actions(self) -> &'static [Action] {
        use Action::{
            ApplyResources, Backup, Purge, Restart, Restore, Retry, Start, Stop, Suspend, Terminate,
            Undelete, Unsuspend, Upgrade,
        };
        match self {
            Self::PendingPayment | Self::Creating | Self::Updating | Self::Maintenance => &[Terminate],
            Self::Starting | Self::Restarting => &[Stop, Suspend, Terminate],
            Self::Running => &[Stop, Restart, Suspend, Backup, Restore, Upgrade, ApplyResources, Terminate],
            Self::Stopping => &[Suspend, Terminate],
            Self::Stopped => &[Start, Backup, Restore, Upgrade, Suspend, ApplyResources, Terminate],
            Self::Suspended => &[Unsuspend, Backup, ApplyResources, Terminate],
            Self::Error => &[Start, Stop, Restart, Restore, Retry, Suspend, Terminate],
            Self::Terminated => &[Undelete, Purge],
            Self::Terminating | Self::Purged => &[],
        }
    }
}

/// The machine: where `event` leads from `status`.
pub fn transition(status: Status, event: Event) -> Result<Status, InvalidTransition> {
    let next = match event {
        Event::Accepted(kind, desired) => accepted(status, kind, desired),
        Event::WorkloadApplied => {
            matches!(status, Status::Creating | Status::Starting).then_some(Status::Starting)
        }
        Event::Succeeded(kind, desired) => succeeded(status, kind, desired),
        Event::Failed(kind) => failed(status, kind),
        Event::Cancelled(kind) => cancelled(status, kind),
        Event::BecameReady => {
            matches!(status, Status::Starting | Status::Restarting | Status::Running | Status::Error)
                .then_some(Status::Running)
        }
        Event::Crashed => {
            matches!(status, Status::Starting | Status::Restarting | Status::Running | Status::Error)
                .then_some(Status::Error)
        }
    };
    next.ok_or(InvalidTransition { from: status, event })
}

/// What shall be after a cancelled operation is undone. (`create` leaves the wish alone: the row waits in
/// `error` for its owner.)
pub const fn desired_after_cancel(kind: OperationKind, desired: DesiredState) -> DesiredState {
    match kind {
        OperationKind::Start => DesiredState::Stopped,
        OperationKind::Undelete => DesiredState::Terminated,
        _ => desired,
    }
}

fn accepted(status: Status, kind: OperationKind, desired: DesiredState) -> Option<Status> {
    use Status as S;
    match (kind, status) {
        (OperationKind::Create, S::PendingPayment | S::Creating | S::Error)
        // With its data: from its end, after the payment of a reactivation, or again after a failure.
        | (OperationKind::Undelete, S::Terminated | S::PendingPayment | S::Error) => Some(S::Creating),
        (OperationKind::Start, S::Stopped | S::Error) => Some(S::Starting),
        (OperationKind::Stop, S::Running | S::Starting | S::Restarting | S::Error)
        | (
            OperationKind::Suspend,
            S::Running | S::Starting | S::Stopping | S::Stopped | S::Restarting | S::Error,
        ) => Some(S::Stopping),
        (OperationKind::Restart, S::Running | S::Error) => Some(S::Restarting),
        // A retry of an end of a suspension comes from `error`.
        (OperationKind::Unsuspend, S::Suspended | S::Error) => {
            Some(if desired == DesiredState::Running { S::Starting } else { S::Stopping })
        }
        (OperationKind::Terminate, from) if from.is_live() && from != S::Terminating => Some(S::Terminating),
        (OperationKind::ApplyResources, S::Running | S::Error)
        | (OperationKind::Upgrade, S::Running | S::Stopped | S::Error) => Some(S::Updating),
        (
            OperationKind::Restore | OperationKind::MoveDatabase | OperationKind::RotatePassword,
            S::Running | S::Stopped | S::Error,
        )
        // A pool that is emptied for maintenance has suspended tenants too.
        | (OperationKind::MoveDatabase, S::Suspended) => Some(S::Maintenance),
        // Nothing is seen to move; the operation is shown beside the status.
        (OperationKind::Purge, S::Terminated)
        | (OperationKind::ApplyResources, S::Stopped | S::Suspended)
        | (OperationKind::Backup, S::Running | S::Stopped | S::Suspended) => Some(status),
        _ => None,
    }
}

fn succeeded(status: Status, kind: OperationKind, desired: DesiredState) -> Option<Status> {
    use Status as S;
    let rest = match desired {
        DesiredState::Running => S::Running,
        DesiredState::Stopped => S::Stopped,
        DesiredState::Suspended => S::Suspended,
        DesiredState::Terminated => S::Terminated,
    };
    match (kind, status) {
        (OperationKind::Create | OperationKind::Undelete, S::Creating | S::Starting)
        | (OperationKind::Start, S::Starting)
        | (OperationKind::Restart, S::Restarting) => Some(S::Running),
        (OperationKind::Stop, S::Stopping) => Some(S::Stopped),
        (OperationKind::Suspend, S::Stopping) => Some(S::Suspended),
        (OperationKind::Unsuspend, S::Starting | S::Stopping)
        | (OperationKind::ApplyResources | OperationKind::Upgrade, S::Updating)
        | (
            OperationKind::Restore | OperationKind::MoveDatabase | OperationKind::RotatePassword,
            S::Maintenance,
        ) => Some(rest),
        (OperationKind::Terminate, S::Terminating) => Some(S::Terminated),
        (OperationKind::Purge, S::Terminated) => Some(S::Purged),
        (OperationKind::ApplyResources, S::Stopped | S::Suspended)
        | (OperationKind::Backup, S::Running | S::Stopped | S::Suspended | S::Error) => Some(status),
        _ => None,
    }
}

fn failed(status: Status, kind: OperationKind) -> Option<Status> {
    use Status as S;
    match (kind, status) {
        // Nothing ran before, and nothing runs now; a purge is tried again by the sweep.
        (OperationKind::Purge, S::Terminated)
        | (OperationKind::ApplyResources, S::Stopped | S::Suspended)
        | (OperationKind::Backup, S::Running | S::Stopped | S::Suspended | S::Error) => Some(status),
        (_, from) if from.is_moving() || from == S::Error => Some(S::Error),
        _ => None,
    }
}

fn cancelled(status: Status, kind: OperationKind) -> Option<Status> {
    use Status as S;
    match (kind, status) {
        // Undone: there is nothing left that could run. The owner sees why, and may terminate it.
        (OperationKind::Create, S::Creating | S::Starting) => Some(S::Error),
        (OperationKind::Start, S::Starting) => Some(S::Stopped),
        (OperationKind::Undelete, S::Creating | S::Starting) => Some(S::Terminated),
        (OperationKind::Backup, S::Running | S::Stopped | S::Suspended | S::Error) => Some(status),
        _ => None,
    }
}
