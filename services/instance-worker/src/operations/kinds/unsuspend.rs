//! unsuspend: back to the state before the suspension (INS-25).

use super::{Definition, Do, End, Note, OperationKind, TakeBack, step, topics};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Unsuspend,
    steps: &[
        step("route", Do::Route),
        step("workload", Do::WorkloadAsDesired),
        step("ready", Do::AwaitReadyIfDesired),
    ],
    take_back: TakeBack::Never,
    success: End {
        fact: Some(topics::INSTANCE_RESUMED),
        event: "resumed",
        message: "the suspension has ended",
        note: Some(Note::Started),
    },
    failure_fact: None,
};
