//! Follows the cluster: what is there ([`stream`], [`trim`]), what it means for the rows ([`observer`]).
//!
//! Only the leader watches ([`crate::lead`]). Facts are mapped, never guessed; status is written in the transaction of the
//! fact.

pub mod facts;
mod hold;
pub mod observer;
pub mod queue;
pub mod status;
pub mod stream;
pub(crate) mod trim;

pub(crate) use hold::on_hold;

pub use status::Status;
