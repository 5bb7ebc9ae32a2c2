//! The provider: who keeps accounts, subscriptions and, later, invoices and payments (BIL-05).
//!
//! Every call is idempotent by our own ids, so that a call whose answer was lost can be made again. Two providers stand behind the trait: the
//! embedded ledger and Kill Bill.

mod ledger;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use uuid::Uuid;

pub use ledger::Ledger;

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

/// What a provider holds about a subscription now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The provider's own id.
    pub provider_id: String,
    /// When it ended, if it did.
    pub ended_at: Option<OffsetDateTime>,
}

/// A provider of subscriptions.
#[tonic::async_trait]
pub trait Provider: fmt::Debug + Send + Sync {
    /// Which one.
    fn name(&self) -> Name;

    /// The account of a customer, made when it is not there (BIL-07): the provider's own id of it.
    async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError>;

    /// The subscription with this id, made when it is not there: the provider's own id of it.
    async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError>;

    /// Ends a subscription now. One that is not there or has ended is a success.
    async fn cancel(&self, subscription_id: Uuid) -> Result<(), ProviderError>;

    /// The provider's state of a subscription; `None`: it does not know it. Hooks are hints, this is the truth.
    async fn pull(&self, subscription_id: Uuid) -> Result<Option<Pulled>, ProviderError>;

    /// Does it work now?
    async fn health(&self) -> Result<(), ProviderError>;
}

/// Calls with a deadline.
#[derive(Debug, Clone)]
pub struct Guarded(Arc<dyn Provider>);

impl Guarded {
    /// Wraps a provider.
    pub fn new(provider: impl Provider + 'static) -> Self {
        Self(Arc::new(provider))
    }

    /// Which one.
    pub fn name(&self) -> Name {
        self.0.name()
    }

    /// See [`Provider::create_account`].
    pub async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError> {
        in_time(self.0.create_account(customer_id)).await
    }

    /// See [`Provider::create_subscription`].
    pub async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError> {
        in_time(self.0.create_subscription(wanted)).await
    }

    /// See [`Provider::cancel`].
    pub async fn cancel(&self, subscription_id: Uuid) -> Result<(), ProviderError> {
        in_time(self.0.cancel(subscription_id)).await
    }

    /// See [`Provider::pull`].
    pub async fn pull(&self, subscription_id: Uuid) -> Result<Option<Pulled>, ProviderError> {
        in_time(self.0.pull(subscription_id)).await
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
