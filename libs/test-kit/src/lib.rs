#![doc = include_str!("../README.md")]

pub mod environment;
pub mod grpc;
pub mod identity;
pub mod killbill;
pub mod paynow;
pub mod search;
mod wait;

pub use wait::eventually;
