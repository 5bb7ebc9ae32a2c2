//! Clients of a running stack for end-to-end tests: the public API, kubectl, the mail sink, and the switches
//! that break things.
//!
//! Tests see what a customer or an operator sees. They use no library of the services.

pub mod api;
pub mod control;
pub mod databases;
pub mod kubectl;
pub mod mail;
pub mod stack;
pub mod tenant;

pub use api::{Answer, Customer};
pub use stack::Stack;
pub use tenant::Tenant;
