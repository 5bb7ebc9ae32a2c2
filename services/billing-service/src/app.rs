//! Use cases of billing, one file each.

mod catalogue;
mod complete;
mod entitlement;
mod place_order;
mod standing;
mod take_back;
mod trial;

use sqlx::PgPool;
use time::Duration;

use crate::domain::subscription::ProvisionPolicy;
use crate::metrics::BillingMetrics;
use crate::peers::Peers;
use crate::provider::Guarded;

pub use catalogue::{apply_catalogue, check_catalogue};
pub use complete::complete;
pub use entitlement::{Entitled, entitlement};
pub use place_order::{Answer, Failed, Wish, place_order};
pub use standing::{Standing, standing};
pub use take_back::{cancel_order, end_subscription, take_back, tell_provider, undelete};
pub use trial::{TrialAnswer, trial_eligibility};

/// What the use cases work with.
#[derive(Debug, Clone)]
pub struct Desk {
    /// Own database.
    pub pool: PgPool,
    /// Who keeps the books.
    pub provider: Guarded,
    /// Other services.
    pub peers: Peers,
    /// When provisioning may begin.
    pub policy: ProvisionPolicy,
    /// How long an order may wait for its instance.
    pub confirm_within: Duration,
    /// How long an order may wait for its first payment.
    pub pay_within: Duration,
    /// Length of the trial of the default plan, for display.
    pub trial_days: u16,
    /// Counters.
    pub metrics: BillingMetrics,
}
