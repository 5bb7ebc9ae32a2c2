//! Accounts, verification, sessions, password reset, roles. Owns database `auth`; must not know instances or
//! invoices: it asks for them.
//!
//! Reading order: [`domain`] (rules) → [`app`] (one use case a file) → [`store`] (all SQL) → [`grpc`]
//! (adapter) → [`config`], [`serve`].

pub mod app;
pub mod background;
pub mod clients;
pub mod config;
pub mod domain;
pub mod error;
pub mod grpc;
pub mod guard;
pub mod metrics;
pub mod passwords;
pub mod serve;
pub mod store;
pub mod tokens;

/// Forward-only migrations of database `auth`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
/// Name and role of our database.
pub const OWNED: runtime::database::Owned =
    runtime::database::Owned { database: "auth", role: "auth_service" };
