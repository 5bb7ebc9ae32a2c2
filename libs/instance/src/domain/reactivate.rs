//! A terminated instance that its owner wants back under a new subscription (BIL-25).

use time::OffsetDateTime;

use super::decide::begin;
use super::{Active, Change, Decision, Holds, Instance, OperationKind, Refused, Status};

/// May it come back? Within its retention, with data, and unless an operator holds it: an end does not wash
/// away abuse.
pub fn may_reactivate(
    instance: &Instance,
    active: Option<Active>,
    now: OffsetDateTime,
) -> Result<(), Refused> {
    match instance.status {
        Status::Purged => return Err(Refused::Purged),
        Status::Terminated => {}
        status => return Err(Refused::NotTerminated(status)),
    }
    // A purge that has begun leaves nothing to come back to; nor does an order that never had an instance.
    let over = instance.purge_after.is_none_or(|end| end <= now);
    if over || active.is_some() || !instance.is_provisioned() {
        return Err(Refused::Purged);
    }
    if instance.holds.operator {
        return Err(Refused::Forbidden);
    }
    Ok(())
}

/// The row when it may run at once. It must be the row of [`may_reactivate`].
pub fn reactivate(instance: &Instance) -> Result<Change, Refused> {
    match begin(instance, OperationKind::Undelete, None, Holds::default())? {
        Decision::Begin(change) => Ok(change),
        Decision::Note(_) | Decision::Already(_) => Err(Refused::NotTerminated(instance.status)),
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use uuid::Uuid;

    use super::*;
    use crate::domain::decide::tests::instance;
    use crate::domain::{DesiredState, ProvisioningStatus};

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn ended() -> Instance {
        Instance {
            purge_after: Some(NOW + Duration::days(3)),
            provisioning_status: ProvisioningStatus::Completed,
            holds: Holds { billing: true, operator: false },
            ..instance(Status::Terminated, DesiredState::Terminated)
        }
    }

    /// BIL-25
    #[test]
    fn what_ended_comes_back_with_its_data_and_without_the_hold_of_billing() {
        may_reactivate(&ended(), None, NOW).unwrap();
        let change = reactivate(&ended()).unwrap();
        assert_eq!((change.kind, change.status), (OperationKind::Undelete, Status::Creating));
        assert_eq!((change.desired, change.holds), (DesiredState::Running, Holds::default()));
    }

    /// BIL-25: only what ended, only within the retention, and nobody comes back from abuse.
    #[test]
    fn nothing_else_comes_back() {
        for status in Status::ALL.iter().copied().filter(|status| *status != Status::Terminated) {
            let wanted =
                if status == Status::Purged { Refused::Purged } else { Refused::NotTerminated(status) };
            assert_eq!(may_reactivate(&Instance { status, ..ended() }, None, NOW), Err(wanted));
        }
        assert_eq!(may_reactivate(&ended(), None, NOW + Duration::days(3)), Err(Refused::Purged));
        let purge = Active { id: Uuid::nil(), kind: OperationKind::Purge };
        assert_eq!(may_reactivate(&ended(), Some(purge), NOW), Err(Refused::Purged));
        let never = Instance { provisioning_status: ProvisioningStatus::Pending, ..ended() };
        assert_eq!(may_reactivate(&never, None, NOW), Err(Refused::Purged));
        let held = Instance { holds: Holds { billing: false, operator: true }, ..ended() };
        assert_eq!(may_reactivate(&held, None, NOW), Err(Refused::Forbidden));
    }
}
