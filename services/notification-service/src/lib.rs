//! Mail: typed templates, a queue in SQL, SMTP, history for operators.
//!
//! Owns the database `communication`. Must not decide whom to tell: callers announce facts, and the recipient
//! is always the account's own address (NTF-11).

pub mod app;
pub mod breaker;
pub mod clients;
pub mod config;
pub mod consumer;
pub mod domain;
pub mod grpc;
pub mod metrics;
pub mod sender;
pub mod serve;
pub mod smtp;
pub mod store;
pub mod sweep;
pub mod templates;

/// Migrations of the database `communication`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
