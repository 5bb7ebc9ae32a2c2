//! Instances: what customers have and want, operations, events.
//!
//! Owns the database `instance` (together with instance-worker, through the library `instance`). Must not
//! talk to Kubernetes: it writes what is wanted, the worker makes it so.

pub mod app;
pub mod clients;
pub mod config;
pub mod consumer;
pub mod error;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod retention;
pub mod rules;
pub mod serve;
pub mod sweep;
pub mod wakeups;
