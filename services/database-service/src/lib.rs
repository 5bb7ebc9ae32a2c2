//! database-service: pools of PostgreSQL servers, and the role and database of each tenant on them.
//!
//! Owns database `database_service` and everything that is done on tenants' servers by SQL. Must not: talk to
//! Kubernetes. It orders servers by an event; the worker answers by `PoolWorkService`.

pub mod app;
pub mod certificates;
pub mod config;
pub mod domain;
pub mod error;
pub mod failpoint;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod secrets;
pub mod serve;
pub mod store;
pub mod tenants;

/// The embedded migrations.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
