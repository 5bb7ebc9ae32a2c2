//! undelete: back from terminated, with its data (INS-27).

use super::{Definition, Do, End, Note, OperationKind, TakeBack, Undo, step, topics, undoable};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Undelete,
    steps: &[
        undoable("database", Do::ReclaimDatabase, Undo::ReleaseDatabase),
        step("secret", Do::WriteSecret),
        step("volume", Do::ClaimVolume),
        undoable("workload", Do::RunWorkload, Undo::DeleteWorkload),
        undoable("route", Do::Route, Undo::RouteOff),
        step("ready", Do::AwaitReady),
    ],
    take_back: TakeBack::OnCancel,
    success: End {
        fact: Some(topics::INSTANCE_UNDELETED),
        event: "undeleted",
        message: "the instance is back with its data",
        note: Some(Note::Started),
    },
    failure_fact: None,
};
