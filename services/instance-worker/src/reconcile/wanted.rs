//! What a row at rest wants of the cluster, pure.

use std::collections::BTreeMap;

use instance::domain::{DesiredState, Instance, Status};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::objects::{Tenant, Wish, meta};

/// K8S-32
const HOLD: time::Duration = time::Duration::minutes(15);

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

/// Does an operator work on the Deployment with these annotations (K8S-32)?
pub(crate) fn on_hold(annotations: Option<&BTreeMap<String, String>>, now: OffsetDateTime) -> bool {
    let Some(annotations) = annotations else { return false };
    if annotations.get(meta::HOLD).is_none_or(|value| value != "true") {
        return false;
    }
    let since = annotations.get(crate::watch::HOLD_SINCE);
    if since.is_some_and(|since| since == crate::watch::HOLD_COPIED) {
        return false;
    }
    // Without a time the hold counts as new: the managed fields always have one.
    let since = since.and_then(|since| OffsetDateTime::parse(since, &Rfc3339).ok());
    since.is_none_or(|since| now - since < HOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-32
    #[test]
    fn a_hold_lasts_a_quarter_of_an_hour() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(1);
        let held = |since: OffsetDateTime| {
            meta::pairs([
                (meta::HOLD, "true".to_owned()),
                (crate::watch::HOLD_SINCE, since.format(&Rfc3339).unwrap()),
            ])
        };
        assert!(on_hold(Some(&held(now - time::Duration::minutes(14))), now));
        assert!(!on_hold(Some(&held(now - time::Duration::minutes(16))), now));
        assert!(!on_hold(Some(&meta::pairs([(meta::HOLD, "false".to_owned())])), now));
        assert!(!on_hold(None, now));
        let copied = meta::pairs([
            (meta::HOLD, "true".to_owned()),
            (crate::watch::HOLD_SINCE, crate::watch::HOLD_COPIED.to_owned()),
        ]);
        assert!(!on_hold(Some(&copied), now), "what a roll-back brings is nobody's wish");
    }
}
