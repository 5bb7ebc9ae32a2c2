//! terminate: workload away, data kept for the retention (INS-26).

use super::{Definition, Do, End, OperationKind, TakeBack, step, topics};

pub(super) const DEFINITION: Definition = Definition {
    kind: OperationKind::Terminate,
    steps: &[
        step("final_backup", Do::FinalBackup),
        step("workload", Do::DeleteDeployment),
        step("gone", Do::AwaitGone),
        step("route", Do::RouteIfMade),
        step("database", Do::ReleaseDatabase),
    ],
    take_back: TakeBack::Never,
    success: End {
        fact: Some(topics::INSTANCE_TERMINATED),
        event: "terminated",
        message: "the instance is terminated; its data is kept until the end of the retention",
        note: None,
    },
    failure_fact: None,
};
