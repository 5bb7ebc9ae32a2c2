//! A plan as it is sold now, or as a subscription bought it.

use super::catalogue::{DbType, Tier};
use super::money::Money;
use super::period::BillingPeriod;

/// A plan with one version of what it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// `<tier>-<period>`.
    pub name: String,
    /// Product name.
    pub product: String,
    /// Rank.
    pub tier: Tier,
    /// For people.
    pub description: String,
    /// How often it is billed.
    pub billing_period: BillingPeriod,
    /// Price of a period.
    pub price: Money,
    /// Days of the trial; 0: none.
    pub trial_days: u16,
    /// For sale.
    pub active: bool,
    /// Version of the entitlement.
    pub entitlement_version: i64,
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Volume.
    pub storage_mib: u64,
    /// Kind of database server.
    pub db_type: DbType,
    /// Tier of the database.
    pub db_tier: String,
    /// How often backups are made.
    pub backup_schedule: String,
    /// How many are kept.
    pub backups_keep: u32,
}

impl Plan {
    /// Days of the trial that it offers, if it offers one.
    pub fn trial(&self) -> Option<u16> {
        (self.trial_days > 0).then_some(self.trial_days)
    }
}
