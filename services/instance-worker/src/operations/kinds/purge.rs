//! purge: nothing is left but the row (INS-26, K8S-30). Absent is done, so it may run twice.

use super::{Definition, Do, End, OperationKind, TakeBack, step, topics};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Purge,
    steps: &[
        step("route", Do::DeleteRoute),
        step("service", Do::DeleteService),
        step("workload", Do::DeleteDeployment),
        step("policy", Do::DeletePolicy),
        step("database", Do::PurgeDatabase),
        step("volume", Do::DeleteVolume),
        step("secret", Do::DeleteSecret),
    ],
    take_back: TakeBack::Never,
    success: End {
        fact: Some(topics::INSTANCE_PURGED),
        event: "purged",
        message: "the instance and its data are removed",
        note: None,
    },
    failure_fact: None,
};
