//! stop: no replica, and no pod left (INS-22).

use super::{Definition, Do, End, Note, OperationKind, TakeBack, step, topics};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Stop,
    steps: &[step("workload", Do::StopWorkload), step("gone", Do::AwaitGone)],
    take_back: TakeBack::Never,
    success: End {
        fact: Some(topics::INSTANCE_STOPPED),
        event: "stopped",
        message: "the instance is stopped",
        note: Some(Note::Stopped),
    },
    failure_fact: None,
};
