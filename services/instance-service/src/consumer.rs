//! Events of others: servers of database-service into the projection, subscriptions of billing-service into decisions.

use contracts::events::{PoolFact, SubscriptionFact, topics};
use instance::store::servers;
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;

use crate::app::{App, subscriptions};
use crate::error::Error;

/// Servers of database-service.
pub const SERVERS: Consumer = Consumer { queue: "instance-service.servers", topics: &[topics::POOL_CHANGED] };

/// Subscriptions of billing-service.
pub const SUBSCRIPTIONS: Consumer = Consumer {
    queue: "instance-service.subscriptions",
    topics: &[
        topics::SUBSCRIPTION_SUSPENDED,
        topics::SUBSCRIPTION_RESUMED,
        topics::SUBSCRIPTION_ENDED,
        topics::SUBSCRIPTION_CHANGED,
    ],
};

/// Writes the projection `db_servers`.
#[derive(Debug, Clone, Copy)]
pub struct Servers;

impl Handler for Servers {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let fact: PoolFact = message.payload()?;
        servers::upsert(connection, &fact).await?;
        Ok(())
    }
}

/// Decides on subscriptions.
#[derive(Debug, Clone)]
pub struct Subscriptions(pub App);

impl Handler for Subscriptions {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let fact: SubscriptionFact = message.payload()?;
        match subscriptions::apply(connection, &self.0, &fact).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::Retry(anyhow::anyhow!("the instance changed at the same time"))),
            Err(error @ Error::Unavailable(_)) => Err(Failure::Away(error.into())),
            Err(error) => Err(Failure::of(error.into())),
        }
    }
}
