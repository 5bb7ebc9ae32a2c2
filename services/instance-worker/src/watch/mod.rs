//! Follows the cluster: who leads ([`leader`]), what is there ([`stream`], [`trim`]), what it means for the
//! rows ([`observer`]).
//!
//! Only the leader watches. Facts are mapped, never guessed; status is written in the transaction of the
//! fact.

pub mod facts;
pub mod lead;
pub mod leader;
pub mod observer;
pub mod queue;
pub mod status;
pub mod stream;
mod trim;

pub(crate) use trim::{HOLD_COPIED, HOLD_SINCE};

pub use leader::Election;
pub use status::Status;
