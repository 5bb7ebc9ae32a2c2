//! suspend: no pod left, and the host name says that it is off (INS-24).

use super::{Definition, Do, End, Note, OperationKind, TakeBack, step, topics};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Suspend,
    steps: &[step("workload", Do::StopWorkload), step("gone", Do::AwaitGone), step("route", Do::RouteIfMade)],
    take_back: TakeBack::Never,
    success: End {
        fact: Some(topics::INSTANCE_SUSPENDED),
        event: "suspended",
        message: "the instance is suspended",
        note: Some(Note::Stopped),
    },
    failure_fact: None,
};
