//! create: everything from nothing (K8S-18). A failed attempt leaves nothing behind (K8S-19).

use super::{Definition, Do, End, Note, OperationKind, TakeBack, Undo, step, topics, undoable};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Create,
    steps: &[
        step("billing", Do::CheckEntitlement),
        undoable("database", Do::AllocateDatabase, Undo::PurgeDatabase),
        undoable("secret", Do::WriteSecret, Undo::DeleteSecret),
        undoable("volume", Do::ClaimVolume, Undo::DeleteFreshVolume),
        undoable("workload", Do::RunWorkload, Undo::DeleteWorkload),
        undoable("route", Do::Route, Undo::DeleteRoute),
        step("ready", Do::AwaitReady),
    ],
    take_back: TakeBack::Always,
    success: End {
        fact: Some(topics::INSTANCE_READY),
        event: "ready",
        message: "the instance is running for the first time",
        note: Some(Note::Provisioned),
    },
    failure_fact: Some(topics::INSTANCE_PROVISIONING_FAILED),
};
