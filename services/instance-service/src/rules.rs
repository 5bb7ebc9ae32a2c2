//! The settings of the use cases, in the domain's types.

use instance::domain::{Addresses, Limits, SubdomainRules};

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
