//! Use cases of billing, one a file, in folders by what they are about.

pub mod accounts;
pub mod advance;
pub mod audit;
pub mod caller;
pub mod catalogue;
pub mod clock;
pub mod facts;
pub mod invoices;
pub mod orders;
pub mod payments;
pub mod provider;
pub mod settings;
pub mod subscriptions;
pub mod upkeep;
pub mod wakeup;
pub mod webhooks;

use runtime::database::repeat_conflicts;
use sqlx::{PgConnection, PgPool};
use time::{Duration, OffsetDateTime};

use self::clock::BillingClock;
use self::settings::{BillingSettings, DocumentSettings};
use self::wakeup::Wakeup;
use crate::clients::Clients;
use crate::domain::subscription::ProvisionPolicy;
use crate::error::Error;
use crate::failpoint::FailPoint;
use crate::gateway::Gateways;
use crate::metrics::BillingMetrics;
use crate::provider::WithDeadline;

/// What the use cases work with.
#[derive(Debug, Clone)]
pub struct App {
    /// Own database.
    pub pool: PgPool,
    /// Who keeps the books.
    pub provider: WithDeadline,
    /// Who brings money.
    pub gateways: Gateways,
    /// Other services.
    pub clients: Clients,
    /// When provisioning may begin.
    pub policy: ProvisionPolicy,
    /// How long an order may wait for its instance.
    pub confirm_within: Duration,
    /// How long a create may fail before its order is reversed, in real time.
    pub give_up_after: Duration,
    /// How long after its order an instance may end without owing its first invoice.
    pub cooling_off: Duration,
    /// How long an order may wait for its first payment.
    pub pay_within: Duration,
    /// Length of the trial of the default plan, for display.
    pub trial_days: u16,
    /// What invoices and dunning go by.
    pub settings: BillingSettings,
    /// What documents are printed with.
    pub documents: DocumentSettings,
    /// The time of billing.
    pub clock: BillingClock,
    /// Wakes the inbox of webhooks.
    pub wakeup: Wakeup,
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

impl App {
    /// Billing time now.
    pub async fn now(&self) -> OffsetDateTime {
        self.clock.now(&self.pool).await
    }

    /// Real time now, by the database's clock: for deadlines that no moved clock of billing moves.
    pub async fn real_now(&self) -> OffsetDateTime {
        self.clock.real_by(&self.pool).await
    }

    /// The same inside a transaction.
    pub async fn real_now_within(&self, connection: &mut PgConnection) -> OffsetDateTime {
        self.clock.real_by(connection).await
    }

    /// Billing time now, inside a transaction: it takes no second connection.
    pub async fn now_within(&self, connection: &mut PgConnection) -> OffsetDateTime {
        self.clock.now_by(connection).await
    }
}
