//! `move_database`: the instance's database on another server (DBS-33). Up to the switch everything is taken back and the instance is as it was.

use super::{Definition, Do, End, OperationKind, TakeBack, Undo, step, undoable};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::MoveDatabase,
    steps: &[
        undoable("target", Do::ReserveMove, Undo::AbortMove),
        undoable("stop", Do::StopWorkload, Undo::StartAgain),
        step("gone", Do::AwaitGone),
        undoable("copy", Do::CopyDatabase, Undo::DeleteCopyJob),
        step("verify", Do::VerifyCopy),
        undoable("switch", Do::SwitchDatabase, Undo::SettleDatabase),
        step("workload", Do::WorkloadAsDesired),
        step("ready", Do::AwaitReadyIfDesired),
    ],
    take_back: TakeBack::Always,
    success: End {
        fact: None,
        event: "database_moved",
        message: "the database is on another server",
        note: None,
    },
    failure_fact: None,
};
