//! Kinds of operations, their fixed steps, deadlines and progress (INS-31, INS-33).

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::words::words;

words! {
    /// What an operation does.
    OperationKind("operation kind") {
        /// Makes everything from nothing.
        Create => "create",
        /// Replicas to one.
        Start => "start",
        /// Replicas to zero.
        Stop => "stop",
        /// A new pod.
        Restart => "restart",
        /// Off, for billing or abuse.
        Suspend => "suspend",
        /// Back to what it was before the suspension.
        Unsuspend => "unsuspend",
        /// Workload away, data kept.
        Terminate => "terminate",
        /// Back from terminated.
        Undelete => "undelete",
        /// Everything away but the row.
        Purge => "purge",
        /// A newer image of the same major version.
        Upgrade => "upgrade",
        /// New limits.
        ApplyResources => "apply_resources",
        /// A copy of database and files.
        Backup => "backup",
        /// Database and files from a copy.
        Restore => "restore",
        /// To another database server.
        MoveDatabase => "move_database",
        /// Another password for the database.
        RotatePassword => "rotate_password",
    }
}

words! {
    /// How far an operation is.
    OperationState("operation state") {
        /// Waits for a worker.
        Queued => "queued",
        /// Claimed at least once.
        Running => "running",
        /// Done.
        Succeeded => "succeeded",
        /// Ended without its aim; what it made is undone or parked.
        Failed => "failed",
        /// Ended by wish.
        Cancelled => "cancelled",
    }
}

words! {
    /// How far a step is.
    StepState("step state") {
        /// Not begun.
        Pending => "pending",
        /// In work, or waiting.
        Running => "running",
        /// Done.
        Succeeded => "succeeded",
        /// Ended the operation.
        Failed => "failed",
        /// Not needed; the detail says why.
        Skipped => "skipped",
        /// Taken back.
        Undone => "undone",
    }
}

words! {
    /// What a parked operation waits for.
    ParkedFor("wait") {
        /// A ready pod.
        Ready => "ready",
        /// No pod left.
        Gone => "gone",
        /// Room on a database server.
        Pool => "pool",
        /// The end of a job in the cluster.
        Job => "job",
        /// A release of the worker that knows the operation's steps.
        Release => "release",
    }
}

impl OperationKind {
    /// Names of the steps, in order.
    pub const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Create => &["billing", "database", "secret", "volume", "workload", "route", "ready"],
            Self::Start => &["billing", "workload", "ready"],
            Self::Stop => &["workload", "gone"],
            Self::Restart => &["workload", "ready"],
            Self::Suspend => &["workload", "gone", "route"],
            Self::Unsuspend => &["route", "workload", "ready"],
            Self::Terminate => &["final_backup", "workload", "gone", "route", "database"],
            Self::Undelete => &["database", "secret", "volume", "workload", "route", "ready"],
            Self::Purge => &["route", "service", "workload", "policy", "database", "volume", "secret"],
            Self::ApplyResources => &["volume", "workload", "ready"],
            Self::MoveDatabase => &[
                "target", "copy", "compare", "stop", "gone", "sync", "verify", "switch", "workload", "ready",
            ],
            Self::RotatePassword => &["credential", "switch", "stop", "gone", "retire", "workload", "ready"],
            // These come with backups and upgrades.
            Self::Upgrade | Self::Backup | Self::Restore => &[],
        }
    }

    /// The steps as they stand before anything was done.
    pub fn fresh_steps(self) -> Vec<Step> {
        self.steps().iter().map(|name| Step::pending(name)).collect()
    }

    /// INS-33: the longest time from acceptance to an end.
    pub const fn time_limit(self) -> Duration {
        match self {
            Self::Backup => Duration::minutes(60),
            Self::Restore => Duration::minutes(120),
            // Two copies, when the first one was of no use.
            Self::MoveDatabase => Duration::minutes(240),
            Self::Create
            | Self::Undelete
            | Self::Terminate
            | Self::Purge
            | Self::Upgrade
            | Self::RotatePassword
            | Self::ApplyResources => Duration::minutes(30),
            Self::Start | Self::Stop | Self::Restart | Self::Suspend | Self::Unsuspend => {
                Duration::minutes(15)
            }
        }
    }

    /// INS-32: may the customer cancel it after it began? The others are short, or half-done is worse than
    /// done.
    pub const fn cancellable_when_running(self) -> bool {
        matches!(self, Self::Create | Self::Start | Self::Undelete | Self::Backup)
    }

    /// May the customer take it back while nothing was done for it? The others leave a trace in the row that
    /// would take effect all the same, or are not the customer's.
    pub const fn cancellable_when_queued(self) -> bool {
        matches!(self, Self::Create | Self::Start | Self::Stop | Self::Undelete | Self::Backup)
    }

    /// May `newer` end it without asking? Terminate ends everything (INS-20); stop and suspend end what only
    /// waits for a pod.
    pub const fn yields_to(self, newer: Self) -> bool {
        match newer {
            Self::Terminate => !matches!(self, Self::Terminate | Self::Purge),
            Self::Stop => matches!(self, Self::Start | Self::Restart),
            Self::Suspend => matches!(self, Self::Start | Self::Stop | Self::Restart | Self::Unsuspend),
            _ => false,
        }
    }
}

impl OperationState {
    /// Queued or running.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

/// One step as it stands in `operations.steps`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name, one of [`OperationKind::steps`].
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// First beginning.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<OffsetDateTime>,
    /// End.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<OffsetDateTime>,
    /// How often it was begun.
    #[serde(default)]
    pub attempts: u32,
    /// Safe text, such as why it was skipped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When it was begun to be taken back.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub undo_began_at: Option<OffsetDateTime>,
}

impl Step {
    /// Not begun.
    pub fn pending(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: StepState::Pending,
            started_at: None,
            finished_at: None,
            attempts: 0,
            detail: String::new(),
            undo_began_at: None,
        }
    }
}

/// Percent of the steps that are behind us; 100 only when all are.
pub fn progress(steps: &[Step]) -> u8 {
    let done =
        steps.iter().filter(|step| matches!(step.state, StepState::Succeeded | StepState::Skipped)).count();
    u8::try_from((done * 100).checked_div(steps.len()).unwrap_or(0)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// INS-33
    #[test]
    fn every_kind_has_a_deadline_of_the_requirements() {
        assert_eq!(OperationKind::Create.time_limit(), Duration::minutes(30));
        for kind in [OperationKind::Start, OperationKind::Stop, OperationKind::Restart] {
            assert_eq!(kind.time_limit(), Duration::minutes(15));
        }
        assert_eq!(OperationKind::Backup.time_limit(), Duration::minutes(60));
        assert_eq!(OperationKind::Restore.time_limit(), Duration::minutes(120));
        assert!(OperationKind::ALL.iter().all(|kind| kind.time_limit().is_positive()));
    }

    /// INS-31
    #[test]
    fn progress_counts_steps_that_are_done_or_not_needed() {
        let mut steps = OperationKind::Terminate.fresh_steps();
        assert_eq!(progress(&steps), 0);
        steps[0].state = StepState::Skipped;
        steps[1].state = StepState::Succeeded;
        assert_eq!(progress(&steps), 40);
        for step in &mut steps {
            step.state = StepState::Succeeded;
        }
        assert_eq!(progress(&steps), 100);
        assert_eq!(progress(&[]), 0);
    }

    #[test]
    fn steps_read_back_as_they_were_written() {
        let mut steps = OperationKind::Create.fresh_steps();
        steps[0].state = StepState::Running;
        steps[0].started_at = Some(OffsetDateTime::UNIX_EPOCH);
        let text = serde_json::to_string(&steps).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Step>>(&text).unwrap(), steps);
    }
}
