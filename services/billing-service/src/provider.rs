//! The provider: who keeps accounts, subscriptions and, later, invoices and payments (BIL-05).
//!
//! Every call is idempotent by our own ids, so that a call whose answer was lost can be made again. Two
//! providers stand behind the trait: the embedded ledger and Kill Bill.

pub mod killbill;
pub mod ledger;
mod state;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

pub use state::{
    Pulled, Snapshot, SnapshotAdjustment, SnapshotInvoice, SnapshotPayment, SnapshotSubscription,
};

use crate::domain::money::Money;
use crate::domain::period::BillingPeriod;
use crate::domain::subscription::Beginning;

/// Longest wait for a provider.
const DEADLINE: Duration = Duration::from_secs(10);

/// Name of a provider, as settings and rows say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Name {
    /// The embedded ledger.
    Ledger,
    /// Kill Bill.
    Killbill,
}

impl Name {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Killbill => "killbill",
        }
    }
}

/// Why a provider did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// No answer, or a failure of its own: it may have been done or not. Ask again.
    #[error("the provider is not available: {0:#}")]
    Unavailable(#[source] anyhow::Error),
    /// It understood and will never do it.
    #[error("the provider refused: {0}")]
    Refused(String),
}

/// A subscription to be made.
#[derive(Debug, Clone)]
pub struct NewSubscription<'a> {
    /// Our id, and the provider's key.
    pub id: Uuid,
    /// Whose; the key of the account.
    pub customer_id: Uuid,
    /// Plan.
    pub plan_name: &'a str,
    /// How often it is billed.
    pub billing_period: BillingPeriod,
    /// Price of a period.
    pub price: Money,
    /// How it begins.
    pub beginning: Beginning,
}

/// When a cancelled subscription ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelWhen {
    /// Now, its billing too.
    Now,
    /// With the paid period.
    PeriodEnd,
    /// With the trial, which ends then.
    TrialEnd(OffsetDateTime),
}

/// A change of the plan.
#[derive(Debug, Clone)]
pub struct PlanChange<'a> {
    /// Our id of the subscription.
    pub subscription_id: Uuid,
    /// Wanted plan.
    pub plan_name: &'a str,
    /// How often it is billed.
    pub billing_period: BillingPeriod,
    /// Price of a period.
    pub price: Money,
    /// With the period; else now.
    pub at_period_end: bool,
}

/// A payment that was made outside of the provider.
#[derive(Debug, Clone)]
pub struct OutsidePayment<'a> {
    /// Our id: the provider's key of the payment.
    pub key: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// The provider's own id of the invoice.
    pub provider_invoice_id: &'a str,
    /// How much.
    pub amount: Money,
}

/// A credit.
#[derive(Debug, Clone)]
pub struct NewCredit<'a> {
    /// Ours: looked for before it is given again.
    pub key: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// How much.
    pub amount: Money,
    /// For people.
    pub reason: &'a str,
}

/// Which payment, at the provider.
#[derive(Debug, Clone, Copy)]
pub enum PaidBy<'a> {
    /// We told it, by this key of ours.
    Key(Uuid),
    /// It was made there; the provider's own id.
    ProviderId(&'a str),
}

/// Money that goes back.
#[derive(Debug, Clone)]
pub struct NewRefund<'a> {
    /// Ours: looked for before it is given again.
    pub key: Uuid,
    /// Of which payment.
    pub payment: PaidBy<'a>,
    /// How much.
    pub amount: Money,
}

/// A provider of subscriptions (BIL-05). Each call may be repeated; what was done before is a success. The
/// overdue ladder is ours with every provider (BIL-32).
#[tonic::async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// Which one.
    fn name(&self) -> Name;

    /// `true`: invoices, periods and payments are tables of ours; `false`: they are pulled with
    /// [`Provider::snapshot`].
    fn is_books_local(&self) -> bool;

    /// Tenant, callback, catalogue: brings the provider to what we need, under a lock of the caller (BIL-32).
    async fn ensure_ready(&self) -> Result<(), ProviderError>;

    /// The account of a customer, made when it is not there (BIL-07): the provider's own id of it.
    async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError>;

    /// The subscription with this id, made when it is not there: the provider's own id of it.
    async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError>;

    /// What a change now would cost; negative: what would be given back.
    async fn preview_change(&self, change: &PlanChange<'_>) -> Result<Money, ProviderError>;

    /// Changes the plan. The plan that it has or waits for: a success.
    async fn change(&self, change: &PlanChange<'_>) -> Result<(), ProviderError>;

    /// Takes a change back that waits. None waits: a success.
    async fn undo_change(&self, subscription_id: Uuid) -> Result<(), ProviderError>;

    /// Ends a subscription. One that is not there or has ended is a success.
    async fn cancel(&self, subscription_id: Uuid, when: CancelWhen) -> Result<(), ProviderError>;

    /// Takes a cancellation back whose date has not come.
    async fn undo_cancel(&self, subscription_id: Uuid) -> Result<(), ProviderError>;

    /// Records a payment that was made outside, once for its key: the provider's own id of it.
    async fn record_payment(&self, payment: &OutsidePayment<'_>) -> Result<String, ProviderError>;

    /// Gives a credit, once for its key.
    async fn credit(&self, credit: &NewCredit<'_>) -> Result<(), ProviderError>;

    /// Asks no more for an invoice, by the provider's own id of it. Again: a success.
    async fn write_off(&self, provider_invoice_id: &str) -> Result<(), ProviderError>;

    /// Takes back all that an invoice asks for, by the provider's own id of it; what was paid of it becomes
    /// credit. Again: a success.
    async fn void(&self, provider_invoice_id: &str) -> Result<(), ProviderError>;

    /// Gives money back, once for its key. Nothing of it is owed again.
    async fn refund(&self, refund: &NewRefund<'_>) -> Result<(), ProviderError>;

    /// Moves the provider's clock, day by day, where it has one that can be moved: for tests.
    async fn move_clock(&self, _: OffsetDateTime) -> Result<(), ProviderError> {
        Ok(())
    }

    /// The provider's state of a subscription; `None`: it does not know it.
    async fn pull(&self, subscription_id: Uuid) -> Result<Option<Pulled>, ProviderError>;

    /// All about a customer.
    async fn snapshot(&self, customer_id: Uuid) -> Result<Snapshot, ProviderError>;

    /// Which customer a stored hook is about; `None`: nothing that we know. Its other content is never
    /// trusted.
    async fn customer_of_hook(&self, body: &[u8]) -> Result<Option<Uuid>, ProviderError>;

    /// Is this the secret of the path that its hooks come by? Takes the same time for every wrong one of its
    /// length (BIL-31).
    fn is_hook_token(&self, _: &str) -> bool {
        false
    }

    /// Does it work now?
    async fn health(&self) -> Result<(), ProviderError>;
}

/// Calls with a deadline.
#[derive(Debug, Clone)]
pub struct WithDeadline(Arc<dyn Provider>);

impl WithDeadline {
    /// Wraps a provider.
    pub fn new(provider: impl Provider + 'static) -> Self {
        Self(Arc::new(provider))
    }

    /// Which one.
    pub fn name(&self) -> Name {
        self.0.name()
    }

    /// See [`Provider::is_books_local`].
    pub fn is_books_local(&self) -> bool {
        self.0.is_books_local()
    }

    /// See [`Provider::is_hook_token`].
    pub fn is_hook_token(&self, token: &str) -> bool {
        self.0.is_hook_token(token)
    }

    /// See [`Provider::ensure_ready`]; with a deadline of its own, since a catalogue may be uploaded.
    pub async fn ensure_ready(&self) -> Result<(), ProviderError> {
        self.0.ensure_ready().await
    }

    /// See [`Provider::create_account`].
    pub async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError> {
        in_time(self.0.create_account(customer_id)).await
    }

    /// See [`Provider::create_subscription`].
    pub async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError> {
        in_time(self.0.create_subscription(wanted)).await
    }

    /// See [`Provider::preview_change`].
    pub async fn preview_change(&self, change: &PlanChange<'_>) -> Result<Money, ProviderError> {
        in_time(self.0.preview_change(change)).await
    }

    /// See [`Provider::change`].
    pub async fn change(&self, change: &PlanChange<'_>) -> Result<(), ProviderError> {
        in_time(self.0.change(change)).await
    }

    /// See [`Provider::undo_change`].
    pub async fn undo_change(&self, subscription_id: Uuid) -> Result<(), ProviderError> {
        in_time(self.0.undo_change(subscription_id)).await
    }

    /// See [`Provider::cancel`].
    pub async fn cancel(&self, subscription_id: Uuid, when: CancelWhen) -> Result<(), ProviderError> {
        in_time(self.0.cancel(subscription_id, when)).await
    }

    /// See [`Provider::undo_cancel`].
    pub async fn undo_cancel(&self, subscription_id: Uuid) -> Result<(), ProviderError> {
        in_time(self.0.undo_cancel(subscription_id)).await
    }

    /// See [`Provider::record_payment`].
    pub async fn record_payment(&self, payment: &OutsidePayment<'_>) -> Result<String, ProviderError> {
        in_time(self.0.record_payment(payment)).await
    }

    /// See [`Provider::credit`].
    pub async fn credit(&self, credit: &NewCredit<'_>) -> Result<(), ProviderError> {
        in_time(self.0.credit(credit)).await
    }

    /// See [`Provider::write_off`].
    pub async fn write_off(&self, provider_invoice_id: &str) -> Result<(), ProviderError> {
        in_time(self.0.write_off(provider_invoice_id)).await
    }

    /// See [`Provider::void`].
    pub async fn void(&self, provider_invoice_id: &str) -> Result<(), ProviderError> {
        in_time(self.0.void(provider_invoice_id)).await
    }

    /// See [`Provider::refund`].
    pub async fn refund(&self, refund: &NewRefund<'_>) -> Result<(), ProviderError> {
        in_time(self.0.refund(refund)).await
    }

    /// See [`Provider::move_clock`]; as long as it takes, since every day of it is worked through.
    pub async fn move_clock(&self, to: OffsetDateTime) -> Result<(), ProviderError> {
        self.0.move_clock(to).await
    }

    /// See [`Provider::pull`].
    pub async fn pull(&self, subscription_id: Uuid) -> Result<Option<Pulled>, ProviderError> {
        in_time(self.0.pull(subscription_id)).await
    }

    /// See [`Provider::snapshot`].
    pub async fn snapshot(&self, customer_id: Uuid) -> Result<Snapshot, ProviderError> {
        in_time(self.0.snapshot(customer_id)).await
    }

    /// See [`Provider::customer_of_hook`].
    pub async fn customer_of_hook(&self, body: &[u8]) -> Result<Option<Uuid>, ProviderError> {
        in_time(self.0.customer_of_hook(body)).await
    }

    /// See [`Provider::health`].
    pub async fn health(&self) -> Result<(), ProviderError> {
        in_time(self.0.health()).await
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    tokio::time::timeout(DEADLINE, call).await.unwrap_or_else(|_| {
        Err(ProviderError::Unavailable(anyhow::anyhow!("no answer within {} s", DEADLINE.as_secs())))
    })
}
