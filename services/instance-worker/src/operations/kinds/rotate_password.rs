//! `rotate_password`: another role and password for the instance's database (DBS-32). Both are valid from the
//! first step to the retirement of the old one, which happens while no pod runs: then nobody waits for the
//! locks of the hand-over.

use super::{Definition, Do, End, OperationKind, TakeBack, Undo, step, undoable};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::RotatePassword,
    steps: &[
        undoable("credential", Do::BeginRotation, Undo::AbortRotation),
        undoable("switch", Do::SwitchRotation, Undo::SettleDatabase),
        undoable("stop", Do::StopWorkload, Undo::StartAgain),
        step("gone", Do::AwaitGone),
        step("retire", Do::RetireRotation),
        step("workload", Do::WorkloadAsDesired),
        step("ready", Do::AwaitReadyIfDesired),
    ],
    take_back: TakeBack::Always,
    success: End {
        fact: None,
        event: "password_rotated",
        message: "the database has a new password",
        note: None,
    },
    failure_fact: None,
};
