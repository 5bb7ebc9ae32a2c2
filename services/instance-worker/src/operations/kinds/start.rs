//! start: one replica. When it fails, the pod is left to get ready late; when it is cancelled, it goes.

use super::{Definition, Do, End, Note, OperationKind, TakeBack, Undo, step, topics, undoable};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Start,
    steps: &[
        step("billing", Do::CheckEntitlement),
        undoable("workload", Do::RunWorkload, Undo::ScaleDown),
        step("ready", Do::AwaitReady),
    ],
    take_back: TakeBack::OnCancel,
    success: End {
        fact: Some(topics::INSTANCE_STARTED),
        event: "started",
        message: "the instance is running",
        note: Some(Note::Started),
    },
    failure_fact: None,
};
