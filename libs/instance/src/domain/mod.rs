//! The rules of instances and operations, pure: no clock, no random numbers, no I/O.

mod operation;
mod status;
mod words;

pub use operation::{OperationKind, OperationState, ParkedFor, Step, StepState, progress};
pub use status::{
    Action, BillingStatus, DesiredState, Event, InvalidTransition, ProvisioningStatus, Status, transition,
};
pub use words::UnknownWord;
