//! `move_database`: the instance's database on another server (DBS-33). It is copied while the instance runs;
//! only what was written since is copied when it is off. Up to the switch everything is taken back and the
//! instance is as it was.

use super::{Definition, Do, End, OperationKind, TakeBack, Undo, step, undoable};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::MoveDatabase,
    steps: &[
        undoable("target", Do::ReserveMove, Undo::AbortMove),
        undoable("copy", Do::CopyDatabase, Undo::DeleteCopyJobs),
        step("compare", Do::CompareCopy),
        undoable("stop", Do::StopWorkload, Undo::StartAgain),
        step("gone", Do::AwaitGone),
        undoable("sync", Do::SyncCopy, Undo::DeleteCopyJobs),
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
