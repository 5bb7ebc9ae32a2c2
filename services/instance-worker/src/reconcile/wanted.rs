//! What a row at rest wants of the cluster, pure.

use instance::domain::{DesiredState, Instance, Status};
use uuid::Uuid;

use crate::objects::{Tenant, Wish};

/// What a row at rest wants of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All objects.
    Objects(Box<Tenant>),
    /// Data only, no workload.
    NoWorkload(Uuid),
}

/// `None`: nothing is to be repaired in this state.
pub(super) fn wanted(instance: &Instance) -> Option<Wanted> {
    match instance.status {
        Status::PendingPayment
        | Status::Creating
        | Status::Terminating
        | Status::Purged
        | Status::Maintenance => None,
        Status::Terminated => Some(Wanted::NoWorkload(instance.id)),
        // A create that failed left nothing, and nothing is wanted until it is tried again.
        _ if !instance.is_provisioned() => None,
        _ if instance.desired_state == DesiredState::Terminated => None,
        _ => Tenant::of(instance, Wish::of(instance.desired_state))
            .map(|tenant| Wanted::Objects(Box::new(tenant))),
    }
}
