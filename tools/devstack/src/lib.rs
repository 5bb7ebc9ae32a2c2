//! Starts the real servers of the local stack as own processes on free loopback ports: PostgreSQL, Redis,
//! RabbitMQ, the Kubernetes control plane with its node, a mail sink, and the services.
//!
//! Used by `cargo xtask` and by tests. Synchronous and with few dependencies, so that `cargo xtask` itself
//! builds quickly; it must not depend on any service, on the Kubernetes client or on a database driver.

pub mod catalogue;
pub mod cluster;
pub mod control;
pub mod given;
pub mod http;
pub mod killbill;
pub mod layout;
pub mod manifests;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod progress;
pub mod rabbitmq;
pub mod redis;
pub mod secrets;
pub mod services;
pub mod stack;
pub mod stackfile;
pub mod unit;
