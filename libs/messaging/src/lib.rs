#![doc = include_str!("../README.md")]

pub mod broker;
pub mod consumer;
pub mod outbox;
mod relay;
pub mod topology;

pub use broker::Broker;
pub use consumer::{Consumer, Failure, Handler, Message};
pub use relay::Relay;
