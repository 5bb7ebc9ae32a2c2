//! apply_resources: the limits of the row onto the objects, with one new pod (INS-29, K8S-29).

use super::{Definition, Do, End, OperationKind, TakeBack, step};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::ApplyResources,
    steps: &[
        step("volume", Do::ClaimVolume),
        step("workload", Do::WorkloadAsDesired),
        step("ready", Do::AwaitReadyIfDesired),
    ],
    take_back: TakeBack::Never,
    success: End {
        fact: None,
        event: "resources_applied",
        message: "the new limits are in force",
        note: None,
    },
    failure_fact: None,
};
