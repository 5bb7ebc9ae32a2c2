//! A provider that keeps the books, such as Kill Bill: what it is told, and how our rows follow it.

pub mod provider_commands;
pub mod reconcile;
pub mod refund_via_provider;
pub mod sync;
