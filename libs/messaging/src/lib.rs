#![doc = include_str!("../README.md")]

pub mod broker;
pub mod consumer;
mod failure;
pub mod outbox;
mod redrive;
mod relay;
pub mod retention;
pub mod topology;

pub use broker::Broker;
pub use consumer::{Consumer, Handler, Message};
pub use failure::Failure;
pub use redrive::{Redrive, redrive};
pub use relay::Relay;
