//! The change of a tenant's password as a state machine (DBS-32). Every step may be repeated: one that is done
//! already changes nothing.

use super::words;

words! {
    /// Life of a change of a tenant's password (DBS-32).
    RotationState {
        /// The new role may be there.
        Begun = "begun",
        /// It is; both passwords are valid.
        Ready = "ready",
        /// The new one is given out; both are valid.
        Switched = "switched",
        /// The old role is gone.
        Retired = "retired",
        /// The new role is being dropped.
        Aborting = "aborting",
        /// Nothing is left of it.
        Aborted = "aborted",
    }
}

/// What is done with a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// The new role is made on the server.
    MakeRole,
    /// The new role becomes the one that is given out.
    Switch,
    /// The old role is dropped.
    Retire,
    /// It shall not go on.
    GiveUp,
    /// The new role of one that was given up is dropped.
    DropRole,
}

/// A step from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RotationChange {
    from: RotationState,
    to: RotationState,
}

impl RotationChange {
    /// The state that the row has to have.
    pub fn from(self) -> RotationState {
        self.from
    }

    /// The state that it gets.
    pub fn to(self) -> RotationState {
        self.to
    }

    /// The row keeps the new password until it is given out.
    pub fn keeps_secret(self) -> bool {
        matches!(self.to, RotationState::Begun | RotationState::Ready)
    }
}

/// Why a step cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RotationRefused {
    /// It was given up before.
    #[error("the rotation was given up")]
    GivenUp,
    /// Nothing to switch to.
    #[error("the new role is not there yet")]
    NotMade,
    /// The workload may use the old role.
    #[error("the old role is still in use")]
    StillInUse,
    /// What was given out is not taken back.
    #[error("the new password is in use already")]
    Switched,
}

impl RotationState {
    /// What a step does in this state; `None`: it is done already.
    pub fn after(self, step: RotationStep) -> Result<Option<RotationChange>, RotationRefused> {
        use RotationState::{Aborted, Aborting, Begun, Ready, Retired, Switched};
        let to = match (step, self) {
            (RotationStep::MakeRole, Begun) => Ready,
            (RotationStep::Switch, Ready) => Switched,
            (RotationStep::Retire, Switched) => Retired,
            (RotationStep::GiveUp, Begun | Ready) => Aborting,
            (RotationStep::DropRole, Aborting) => Aborted,
            (RotationStep::MakeRole, Ready | Switched | Retired)
            | (RotationStep::Switch, Switched | Retired)
            | (RotationStep::Retire, Retired)
            | (RotationStep::GiveUp, Aborting | Aborted)
            | (RotationStep::DropRole, Aborted) => return Ok(None),
            (RotationStep::MakeRole | RotationStep::Switch | RotationStep::Retire, Aborting | Aborted) => {
                return Err(RotationRefused::GivenUp);
            }
            (RotationStep::Switch, Begun) => return Err(RotationRefused::NotMade),
            (RotationStep::Retire, Begun | Ready) => return Err(RotationRefused::StillInUse),
            (RotationStep::GiveUp | RotationStep::DropRole, _) => return Err(RotationRefused::Switched),
        };
        Ok(Some(RotationChange { from: self, to }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEPS: [RotationStep; 5] = [
        RotationStep::MakeRole,
        RotationStep::Switch,
        RotationStep::Retire,
        RotationStep::GiveUp,
        RotationStep::DropRole,
    ];

    proptest! {
        /// DBS-32: whatever comes in whatever order, a password that was given out is never taken back, one
        /// that was given up is never given out, and a repeat changes nothing.
        #[test]
        fn no_order_of_steps_loses_the_valid_password(steps in prop::collection::vec(0..STEPS.len(), 0..20)) {
            let mut state = RotationState::Begun;
            let (mut given_out, mut given_up) = (false, false);
            for index in steps {
                let step = STEPS[index];
                let Ok(Some(change)) = state.after(step) else { continue };
                prop_assert_eq!(change.from(), state);
                state = change.to();
                prop_assert_eq!(state.after(step), Ok(None), "a repeat");
                given_out |= state == RotationState::Switched;
                given_up |= state == RotationState::Aborting;
                prop_assert!(!(given_out && given_up));
                prop_assert_eq!(change.keeps_secret(), !given_out && !given_up);
            }
        }
    }

    #[test]
    fn the_way_is_begun_ready_switched_retired() {
        let mut state = RotationState::Begun;
        for (step, next) in [
            (RotationStep::MakeRole, RotationState::Ready),
            (RotationStep::Switch, RotationState::Switched),
            (RotationStep::Retire, RotationState::Retired),
        ] {
            state = state.after(step).unwrap().unwrap().to();
            assert_eq!(state, next);
        }
        assert_eq!(RotationState::Begun.after(RotationStep::Switch), Err(RotationRefused::NotMade));
        assert_eq!(RotationState::Ready.after(RotationStep::Retire), Err(RotationRefused::StillInUse));
        assert_eq!(RotationState::Switched.after(RotationStep::GiveUp), Err(RotationRefused::Switched));
        assert_eq!(RotationState::Aborted.after(RotationStep::MakeRole), Err(RotationRefused::GivenUp));
    }
}
