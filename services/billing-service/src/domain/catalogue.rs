//! The catalogue file: plans and what they give (BIL-01, BIL-02, BIL-03). Read once, checked whole, then
//! applied to the tables.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::money::{Currency, Money};
use super::period::BillingPeriod;

/// The catalogue that comes with the program.
const SHIPPED: &str = include_str!("../../catalogue/default.json");

/// Rank of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Smallest.
    Basic,
    /// Middle.
    Standard,
    /// Dedicated database.
    Premium,
    /// Contracts made by hand.
    Enterprise,
}

impl Tier {
    /// All of them, lowest first.
    pub const ALL: [Self; 4] = [Self::Basic, Self::Standard, Self::Premium, Self::Enterprise];

    /// The word in SQL and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Standard => "standard",
            Self::Premium => "premium",
            Self::Enterprise => "enterprise",
        }
    }

    /// The database tier that belongs to it (BIL-03).
    pub fn db_tier(self) -> &'static str {
        match self {
            Self::Basic => "starter",
            Self::Standard => "standard",
            Self::Premium => "premium",
            Self::Enterprise => "enterprise",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A tier word that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown tier {0:?}")]
pub struct UnknownTier(String);

impl FromStr for Tier {
    type Err = UnknownTier;
    fn from_str(word: &str) -> Result<Self, UnknownTier> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == word).ok_or_else(|| UnknownTier(word.into()))
    }
}

/// Kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DbType {
    /// A server with other customers.
    Shared,
    /// A server of its own.
    Dedicated,
}

impl DbType {
    /// The word in SQL and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Dedicated => "dedicated",
        }
    }
}

/// What a plan gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entitlement {
    /// Thousandths of a core.
    pub cpu_millis: u32,
    /// Memory.
    pub memory_mib: u32,
    /// Volume.
    pub storage_mib: u32,
    /// Kind of database server.
    pub db_type: DbType,
    /// Tier of the database.
    pub db_tier: String,
    /// How often backups are made.
    pub backup_schedule: String,
    /// How many are kept.
    pub backups_keep: u32,
    /// For people.
    #[serde(default)]
    pub max_users_note: String,
}

/// One plan of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CataloguePlan {
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
    /// What it gives.
    pub entitlement: Entitlement,
}

/// A checked catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Plans in the order of lists.
    pub plans: Vec<CataloguePlan>,
    /// Changes with anything that the tables hold.
    pub digest: String,
}

/// A catalogue that cannot be sold from.
#[derive(Debug, thiserror::Error)]
pub enum BadCatalogue {
    /// Not the agreed form.
    #[error("the catalogue cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    /// BIL-01.
    #[error("plan {0} has no entitlement")]
    NoEntitlement(String),
    /// Something else about a plan.
    #[error("plan {plan}: {problem}")]
    Plan {
        /// Which.
        plan: String,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    currency: String,
    tiers: BTreeMap<String, TierEntry>,
    plans: Vec<PlanEntry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierEntry {
    product: String,
    description: String,
    #[serde(default)]
    entitlement: Option<Entitlement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanEntry {
    name: String,
    tier: String,
    billing_period: BillingPeriod,
    price_minor: i64,
    #[serde(default)]
    trial: bool,
    /// Instead of the default length.
    trial_days: Option<u16>,
    /// Instead of the tier's.
    entitlement: Option<Entitlement>,
}

impl Catalogue {
    /// The catalogue that comes with the program.
    pub fn shipped(default_trial_days: u16) -> Result<Self, BadCatalogue> {
        Self::parse(SHIPPED, default_trial_days)
    }

    /// Reads and checks a catalogue file.
    pub fn parse(text: &str, default_trial_days: u16) -> Result<Self, BadCatalogue> {
        let file: File = serde_json::from_str(text)?;
        let bad = |plan: &str, problem: String| BadCatalogue::Plan { plan: plan.to_owned(), problem };
        let currency: Currency = file.currency.parse().map_err(|error| bad("*", format!("{error}")))?;
        let mut plans: Vec<CataloguePlan> = Vec::with_capacity(file.plans.len());
        for entry in file.plans {
            if plans.iter().any(|plan| plan.name == entry.name) {
                return Err(bad(&entry.name, "is there twice".into()));
            }
            let tier: Tier = entry.tier.parse().map_err(|error| bad(&entry.name, format!("{error}")))?;
            let group = file
                .tiers
                .get(&entry.tier)
                .ok_or_else(|| bad(&entry.name, format!("the file has no tier {}", entry.tier)))?;
            if entry.name != format!("{tier}-{}", entry.billing_period) {
                return Err(bad(&entry.name, "its name must be <tier>-<period>".into()));
            }
            if entry.price_minor < 0 {
                return Err(bad(&entry.name, "its price is negative".into()));
            }
            let entitlement = entry
                .entitlement
                .or_else(|| group.entitlement.clone())
                .ok_or_else(|| BadCatalogue::NoEntitlement(entry.name.clone()))?;
            if entitlement.db_tier != tier.db_tier() {
                return Err(bad(&entry.name, format!("its database tier must be {}", tier.db_tier())));
            }
            let trial_days =
                if entry.trial { entry.trial_days.unwrap_or(default_trial_days).min(365) } else { 0 };
            plans.push(CataloguePlan {
                name: entry.name,
                product: group.product.clone(),
                tier,
                description: group.description.clone(),
                billing_period: entry.billing_period,
                price: Money::new(entry.price_minor, currency),
                trial_days,
                entitlement,
            });
        }
        let mut digest = Sha256::new();
        digest.update(text.as_bytes());
        digest.update(default_trial_days.to_be_bytes());
        Ok(Self { plans, digest: hex::encode(digest.finalize()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIL-02, BIL-03
    #[test]
    fn the_shipped_catalogue_has_twelve_plans_with_their_prices_and_limits() {
        let plans = Catalogue::shipped(14).unwrap().plans;
        let told: Vec<_> = plans
            .iter()
            .map(|plan| {
                let gives = &plan.entitlement;
                format!(
                    "{} {} {}m/{}Mi/{}Mi {} {} trial={}",
                    plan.name,
                    plan.price,
                    gives.cpu_millis,
                    gives.memory_mib,
                    gives.storage_mib,
                    gives.db_type.as_str(),
                    gives.db_tier,
                    plan.trial_days
                )
            })
            .collect();
        let basic = "1000m/2048Mi/10240Mi shared starter";
        let standard = "2000m/4096Mi/20480Mi shared standard";
        let premium = "4000m/8192Mi/51200Mi dedicated premium";
        assert_eq!(
            told,
            [
                format!("basic-monthly USD 9.00 {basic} trial=14"),
                format!("basic-quarterly USD 25.00 {basic} trial=0"),
                format!("basic-biannual USD 49.00 {basic} trial=0"),
                format!("basic-annual USD 89.00 {basic} trial=0"),
                format!("standard-monthly USD 19.00 {standard} trial=0"),
                format!("standard-quarterly USD 49.00 {standard} trial=0"),
                format!("standard-biannual USD 99.00 {standard} trial=0"),
                format!("standard-annual USD 179.00 {standard} trial=0"),
                format!("premium-monthly USD 39.00 {premium} trial=0"),
                format!("premium-quarterly USD 99.00 {premium} trial=0"),
                format!("premium-biannual USD 199.00 {premium} trial=0"),
                format!("premium-annual USD 379.00 {premium} trial=0"),
            ]
        );
    }

    /// BIL-01
    #[test]
    fn a_plan_without_an_entitlement_is_named() {
        let text = r#"{"currency": "USD", "tiers": {"basic": {"product": "p", "description": "d"}},
            "plans": [{"name": "basic-annual", "tier": "basic", "billing_period": "annual", "price_minor": 1}]}"#;
        let error = Catalogue::parse(text, 14).unwrap_err();
        assert_eq!(error.to_string(), "plan basic-annual has no entitlement");
    }

    #[test]
    fn bad_plans_are_refused_by_name() {
        let file = |plans: &str| {
            format!(
                r#"{{"currency": "USD", "plans": [{plans}], "tiers": {{"basic": {{"product": "p", "description": "d",
                "entitlement": {{"cpu_millis": 1, "memory_mib": 1, "storage_mib": 1, "db_type": "shared", "db_tier": "starter", "backup_schedule": "daily", "backups_keep": 1}}}}}}}}"#
            )
        };
        let good =
            r#"{"name": "basic-monthly", "tier": "basic", "billing_period": "monthly", "price_minor": 1}"#;
        assert!(Catalogue::parse(&file(good), 14).is_ok());
        let bad = [
            good.replace("basic-monthly", "cheap"),
            good.replace("\"price_minor\": 1", "\"price_minor\": -1"),
            good.replace("\"price_minor\": 1", "\"price_minor\": 1.5"),
            good.replace("\"tier\": \"basic\"", "\"tier\": \"gold\""),
            format!("{good}, {good}"),
        ];
        for plans in bad {
            assert!(Catalogue::parse(&file(&plans), 14).is_err(), "{plans}");
        }
    }

    #[test]
    fn the_digest_changes_with_the_length_of_the_trial() {
        assert_ne!(Catalogue::shipped(14).unwrap().digest, Catalogue::shipped(30).unwrap().digest);
    }
}
