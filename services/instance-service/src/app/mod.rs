//! Use cases, one a file. Each is one transaction: load, decide (pure), save with the expected version,
//! announce.

pub mod act;
pub mod admin;
pub mod create;
pub mod credentials;
pub mod directory;
pub mod drain;
pub mod follow;
pub mod look;
mod maintenance;
pub mod monitor;
pub mod move_database;
pub mod news;
pub mod operate;
pub mod reactivate;
pub mod rotate_password;
pub mod subscriptions;
pub mod update;
pub mod usage;
pub mod who;

use std::sync::Arc;

use instance::domain::{Addresses, Limits, SubdomainRules};
use sqlx::PgPool;

use crate::clients::billing::Billing;
use crate::clients::users::Customers;
use crate::clients::worker::Worker;
use follow::Wakeups;

/// Longest lost-race loop of a use case.
const RACES: usize = 8;

/// What customers may have, and where it is reached.
#[derive(Debug, Clone)]
pub struct Rules {
    /// URLs.
    pub addresses: Addresses,
    /// Versions that can be ordered.
    pub odoo_versions: Vec<String>,
    /// Version of an order that names none.
    pub default_odoo_version: String,
    /// Plan of an order that names none.
    pub default_plan: String,
    /// Limits where a plan gives none.
    pub fallback: Limits,
    /// Quota of an account without its own.
    pub max_instances: u32,
    /// Terminated instances whose data is kept, at most.
    pub max_kept: u32,
    /// Host names.
    pub subdomains: SubdomainRules,
    /// How long the data of a terminated instance is kept.
    pub retention: time::Duration,
}

/// Everything that use cases need.
#[derive(Debug, Clone)]
pub struct App {
    /// Database `instance`.
    pub pool: PgPool,
    /// Settings.
    pub rules: Arc<Rules>,
    /// Plans and orders.
    pub billing: Billing,
    /// Accounts.
    pub customers: Customers,
    /// The holder of the Kubernetes client.
    pub worker: Worker,
    /// Changes of operations.
    pub wakeups: Wakeups,
}
