//! The embedded ledger: the books are tables of the database `billing`. For now it keeps accounts and subscriptions; both are the rows that
//! the orders write, so that there is nothing to do twice.

use sqlx::PgPool;
use uuid::Uuid;

use super::{Name, NewSubscription, Provider, ProviderError, Pulled};
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

    async fn create_account(&self, customer_id: Uuid) -> Result<String, ProviderError> {
        Ok(customer_id.to_string())
    }

    async fn create_subscription(&self, wanted: &NewSubscription<'_>) -> Result<String, ProviderError> {
        Ok(wanted.id.to_string())
    }

    async fn cancel(&self, _: Uuid) -> Result<(), ProviderError> {
        Ok(())
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
