//! One file a kind: its steps, each with what it does and how that is taken back, and what its end means.

mod apply_resources;
mod create;
mod move_database;
mod purge;
mod restart;
mod rotate_password;
mod start;
mod stop;
mod suspend;
mod terminate;
mod undelete;
mod unsuspend;

use contracts::events::topics;
use instance::domain::OperationKind;

use super::steps::{Do, Undo};
use crate::cluster::Note;

/// A step.
#[derive(Debug, Clone, Copy)]
pub struct StepDefinition {
    /// Name; the same as in [`OperationKind::steps`].
    pub name: &'static str,
    /// The effect.
    pub run: Do,
    /// How it is taken back.
    pub undo: Undo,
}

/// When what was made is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeBack {
    /// Never: the reconciler goes on towards the desired state.
    Never,
    /// When the customer cancels.
    OnCancel,
    /// Whenever the aim is not reached.
    Always,
}

/// An end.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Fact for other services.
    pub fact: Option<&'static str>,
    /// Word of the timeline.
    pub event: &'static str,
    /// Text of the timeline.
    pub message: &'static str,
    /// Note on the Deployment.
    pub note: Option<Note>,
}

/// A kind of operation.
#[derive(Debug, Clone, Copy)]
pub struct Definition {
    /// Which.
    pub kind: OperationKind,
    /// In order.
    pub steps: &'static [StepDefinition],
    /// When steps are taken back.
    pub take_back: TakeBack,
    /// The aim is reached.
    pub success: End,
    /// Fact when it is not.
    pub failure_fact: Option<&'static str>,
}

impl Definition {
    /// The step of a name. An operation runs the steps that its row was accepted with: those of another
    /// release come in another order.
    pub fn step(&self, name: &str) -> Option<StepDefinition> {
        self.steps.iter().find(|step| step.name == name).copied()
    }
}

/// A step without anything to take back.
const fn step(name: &'static str, run: Do) -> StepDefinition {
    StepDefinition { name, run, undo: Undo::Nothing }
}

/// A step and its undo.
const fn undoable(name: &'static str, run: Do, undo: Undo) -> StepDefinition {
    StepDefinition { name, run, undo }
}

/// The definition of a kind; `None` for kinds that come later.
pub fn definition(kind: OperationKind) -> Option<&'static Definition> {
    match kind {
        OperationKind::Create => Some(&create::DEFINITION),
        OperationKind::Start => Some(&start::DEFINITION),
        OperationKind::Stop => Some(&stop::DEFINITION),
        OperationKind::Restart => Some(&restart::DEFINITION),
        OperationKind::Suspend => Some(&suspend::DEFINITION),
        OperationKind::Unsuspend => Some(&unsuspend::DEFINITION),
        OperationKind::Terminate => Some(&terminate::DEFINITION),
        OperationKind::Undelete => Some(&undelete::DEFINITION),
        OperationKind::Purge => Some(&purge::DEFINITION),
        OperationKind::ApplyResources => Some(&apply_resources::DEFINITION),
        OperationKind::MoveDatabase => Some(&move_database::DEFINITION),
        OperationKind::RotatePassword => Some(&rotate_password::DEFINITION),
        OperationKind::Upgrade | OperationKind::Backup | OperationKind::Restore => None,
    }
}

/// Words of the kinds that this release can do.
pub fn known() -> Vec<String> {
    let known = OperationKind::ALL.iter().filter(|kind| definition(**kind).is_some());
    known.map(|kind| kind.as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// INS-31: the steps that a customer sees are the steps that run.
    #[test]
    fn every_kind_runs_exactly_the_steps_that_the_api_shows() {
        for kind in OperationKind::ALL {
            let shown = kind.steps();
            let run: Vec<&str> =
                definition(*kind).map_or_else(Vec::new, |found| found.steps.iter().map(|s| s.name).collect());
            assert_eq!(run, shown, "{kind}");
            assert!(definition(*kind).is_none_or(|found| found.kind == *kind));
        }
    }
}
