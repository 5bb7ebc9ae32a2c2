//! Makes the cluster match the desired state: the only part of the platform with a Kubernetes client.
//!
//! [`objects`] says what is wanted (pure), [`cluster`] is the door to the API, [`operations`] run what
//! customers ask for, [`watch`] follows the cluster, [`reconcile`] repairs it. The truth is the row in
//! database `instance`; nothing is kept here that a restart may not lose.

pub mod cluster;
pub mod config;
pub mod consumer;
pub mod election;
pub mod failpoint;
pub mod grpc;
pub mod lead;
pub mod objects;
pub mod off_page;
pub mod operations;
pub mod peers;
pub mod reconcile;
mod serve;
pub mod watch;
pub mod worker;

pub use serve::{health, serve};
