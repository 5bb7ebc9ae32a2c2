//! Operations: durable units of work, run step by step (K8S-18…20).
//!
//! [`kinds`] say which effects an operation has and how each is taken back; [`steps`] are the effects;
//! [`run`] runs one operation; [`engine`] claims, renews and wakes. Must not keep anything in memory that a
//! crash may lose: where an operation is stands in its row.

mod clock;
mod conclude;
mod context;
mod engine;
mod kinds;
mod leases;
mod metrics;
mod name;
mod pauses;
mod run;
mod runner;
mod step;
mod steps;
mod wake;

pub use context::Context;
pub use engine::{Engine, Tuning};
pub use kinds::{Definition, definition};
pub use metrics::Metrics;
pub use pauses::Pauses;
pub use step::{Failure, Outcome};
pub(crate) use steps::{claim_as_it_can_be, write_secret};
pub use wake::{Wake, listen};
