//! Use cases of billing, one file each.

pub mod advance;
pub mod audit;
pub mod bill;
mod catalogue;
pub mod change;
pub mod charges;
mod clock;
mod complete;
pub mod coupons;
pub mod credit;
pub mod downgrade;
pub mod engine;
mod entitlement;
pub mod findings;
pub mod hear;
pub mod inbox;
pub mod instances;
mod invoice_pdf;
pub mod overview;
pub mod pay;
pub mod payments;
mod place_order;
pub mod poll;
pub mod reactivate;
pub mod reconcile;
pub mod record;
pub mod refund;
pub mod refund_there;
pub mod report;
mod standing;
pub mod sync;
mod take_back;
pub mod taxes;
pub mod told;
mod trial;

use runtime::database::repeat_conflicts;
use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};

use crate::domain::ladder::LadderRules;
use crate::domain::subscription::ProvisionPolicy;
use crate::error::Error;
use crate::failpoint::FailPoint;
use crate::gateway::Gateways;
use crate::metrics::BillingMetrics;
use crate::peers::Peers;
use crate::provider::Guarded;

pub use catalogue::{apply_catalogue, check_catalogue};
pub use clock::BillingClock;
pub use complete::complete;
pub use entitlement::{Entitled, Many, entitlement, entitlements};
pub use invoice_pdf::{Stationery, invoice_pdf};
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
    /// Who brings money.
    pub gateways: Gateways,
    /// Other services.
    pub peers: Peers,
    /// When provisioning may begin.
    pub policy: ProvisionPolicy,
    /// How long an order may wait for its instance.
    pub confirm_within: Duration,
    /// How long a create may fail before its order is taken back, in real time.
    pub give_up_after: Duration,
    /// How long after its order an instance may end without owing its first invoice.
    pub cooling_off: Duration,
    /// How long an order may wait for its first payment.
    pub pay_within: Duration,
    /// Length of the trial of the default plan, for display.
    pub trial_days: u16,
    /// What invoices and the ladder go by.
    pub terms: Terms,
    /// What documents are printed with.
    pub stationery: Stationery,
    /// The time of billing.
    pub clock: BillingClock,
    /// Wakes the inbox of hooks.
    pub bell: inbox::Bell,
    /// Counters.
    pub metrics: BillingMetrics,
    /// Where a test lets the process die.
    pub fail: FailPoint,
}

/// Repeats a use case whose transaction lost against another one: nothing of it was done.
pub async fn repeat<T, Fut>(attempt: impl FnMut() -> Fut) -> Result<T, Error>
where
    Fut: Future<Output = Result<T, Error>>,
{
    repeat_conflicts(attempt, Error::is_lost_race).await
}

impl Desk {
    /// Billing time now.
    pub async fn now(&self) -> OffsetDateTime {
        self.clock.now(&self.pool).await
    }

    /// Billing time now, inside a transaction: it takes no second connection.
    pub async fn now_within(&self, connection: &mut PgConnection) -> OffsetDateTime {
        self.clock.now_by(connection).await
    }
}

/// What invoices and the ladder go by.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Prefix of the numbers of invoices.
    pub issuer: String,
    /// Days from issue to due.
    pub due_days: u16,
    /// Days of the ladder.
    pub ladder: LadderRules,
    /// Days before the end of a trial.
    pub reminder_days: Vec<u16>,
    /// The clock may be moved: never in production.
    pub test_clock: bool,
    /// How long data of a terminated instance is kept, for mails.
    pub retention_days: u16,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            issuer: "INV".into(),
            due_days: 0,
            ladder: LadderRules::default(),
            reminder_days: vec![7, 3, 1],
            test_clock: false,
            retention_days: 30,
        }
    }
}
