//! Use cases, one a file. Each is one transaction: load, decide (pure), save with the expected version,
//! announce.

pub mod act;
pub mod admin;
pub mod caller;
pub mod create;
pub mod credentials;
pub mod directory;
pub mod drain;
pub mod erase;
pub mod follow;
pub mod lookup;
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

use std::sync::Arc;

use sqlx::PgPool;

use crate::clients::billing::Billing;
use crate::clients::users::Customers;
use crate::clients::worker::Worker;
use crate::metrics::SweepMetrics;
use crate::rules::Rules;
use crate::wakeups::Wakeups;

/// Longest lost-race loop of a use case.
const RACES: usize = 8;

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
    /// What the sweeps measure.
    pub metrics: SweepMetrics,
    /// Changes of operations.
    pub wakeups: Wakeups,
}
