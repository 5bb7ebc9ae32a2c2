#![doc = include_str!("../README.md")]

pub mod domain;
pub mod store;

/// Migrations of database `instance`, run by `instance-service migrate`.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
