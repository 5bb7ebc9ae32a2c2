//! restart: a new pod by a new annotation (INS-23).

use super::{Definition, Do, End, Note, OperationKind, TakeBack, step, topics};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Restart,
    steps: &[step("workload", Do::RunWorkload), step("ready", Do::AwaitReady)],
    take_back: TakeBack::Never,
    success: End {
        fact: Some(topics::INSTANCE_RESTARTED),
        event: "restarted",
        message: "the instance runs with a new pod",
        note: Some(Note::Started),
    },
    failure_fact: None,
};
