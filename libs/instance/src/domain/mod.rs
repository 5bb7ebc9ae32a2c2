//! The rules of instances and operations, pure: no clock, no random numbers, no I/O.

mod decide;
mod instance;
mod limits;
pub mod names;
mod objects;
mod operation;
mod reactivate;
mod status;
mod words;

pub use decide::{
    Active, ActorKind, Ask, Change, Decision, Refused, decide, decide_move, decide_retry, decide_rotation,
};
pub use instance::{Database, Failure, Holds, Instance, Observed, Operation};
pub use limits::{AskedLimits, LimitFault, LimitFaultKind, Limits, parse_cpu, parse_size};
pub use names::{Subdomain, SubdomainFault, SubdomainRules};
pub use objects::{Addresses, ObjectName, volume_name, workload_name};
pub use operation::{OperationKind, OperationState, ParkedFor, Step, StepState, progress};
pub use reactivate::{may_reactivate, reactivate};
pub use status::{
    Action, BillingStatus, DesiredState, Event, InvalidTransition, ProvisioningStatus, Status,
    desired_after_cancel, transition,
};
pub use words::UnknownWord;
