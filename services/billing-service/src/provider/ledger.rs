//! The embedded ledger: the books are tables of the database `billing`. Accounts, subscriptions and
//! invoices are the rows that the use cases write, so that there is nothing to do twice.

use sqlx::PgPool;
use uuid::Uuid;

use super::{
    CancelWhen, Name, NewCredit, NewRefund, NewSubscription, OutsidePayment, PlanChange, Provider,
    ProviderError, Pulled, Snapshot,
};
use crate::domain::money::Money;
use crate::store;

/// The provider `ledger`.
#[derive(Debug, Clone)]
pub struct Ledger {
    pool: PgPool,
}

impl Ledger {
    /// Keeps its books in this database.
    pub fn new(pool: &PgPool) -> Self {
        Self { pool: pool.clone() }
    }
}

#[tonic::async_trait]
impl Provider for Ledger {
    fn name(&self) -> Name {
        Name::Ledger
    }

    fn is_books_local(&self) -> bool {
        true
    }

    async fn ensure_ready(&self) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError> {
        Ok(customer_id.to_string())
    }

    async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError> {
        Ok(wanted.id.to_string())
    }

    // The use cases change the rows themselves: there is no second place to tell.

    async fn preview_change(&self, change: &PlanChange<'_>) -> Result<Money, ProviderError> {
        Ok(Money::zero(change.price.currency()))
    }

    async fn change(&self, _: &PlanChange<'_>) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn undo_change(&self, _: Uuid) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn cancel(&self, _: Uuid, _: CancelWhen) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn undo_cancel(&self, _: Uuid) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn record_payment(&self, payment: &OutsidePayment<'_>) -> Result<String, ProviderError> {
        Ok(payment.key.to_string())
    }

    async fn credit(&self, _: &NewCredit<'_>) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn write_off(&self, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn void(&self, _: &str) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn refund(&self, _: &NewRefund<'_>) -> Result<(), ProviderError> {
        Ok(())
    }

    async fn snapshot(&self, customer_id: Uuid) -> Result<Snapshot, ProviderError> {
        Ok(Snapshot { account_id: Some(customer_id.to_string()), ..Snapshot::default() })
    }

    async fn customer_of_hook(&self, _: &[u8]) -> Result<Option<Uuid>, ProviderError> {
        Ok(None)
    }

    async fn pull(&self, subscription_id: Uuid) -> Result<Option<Pulled>, ProviderError> {
        let found = store::subscriptions::find(&self.pool, subscription_id).await.map_err(away)?;
        Ok(found.map(|found| Pulled { provider_id: found.provider_id, ended_at: found.ended_at }))
    }

    async fn health(&self) -> Result<(), ProviderError> {
        runtime::database::ping(&self.pool).await.map(drop).map_err(ProviderError::Unavailable)
    }
}

fn away(error: sqlx::Error) -> ProviderError {
    ProviderError::Unavailable(error.into())
}
