//! Plans, orders, subscriptions, trials; the provider that keeps the money's books.
//!
//! Owns the database `billing`. Must not touch instances: it announces facts, and instance-service decides.

pub mod app;
pub mod clients;
pub mod config;
pub mod consumer;
pub mod domain;
pub mod error;
pub mod failpoint;
pub mod gateway;
pub mod grpc;
pub mod metrics;
pub mod pdf;
pub mod provider;
pub mod serve;
pub mod store;
pub mod sweep;

/// Migrations of the database `billing`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
