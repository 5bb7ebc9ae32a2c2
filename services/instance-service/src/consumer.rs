//! Events of others: servers of database-service into the projection, subscriptions of billing-service into
//! decisions, erased accounts of user-service into erasures.

use contracts::events::{CustomerFact, PoolFact, SubscriptionFact, topics};
use instance::store::{erasure, news, servers};
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;

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

/// Accounts of user-service.
pub const CUSTOMERS: Consumer =
    Consumer { queue: "instance-service.customers", topics: &[topics::CUSTOMER_ERASED] };

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

/// Hears what became of subscriptions. Billing is asked afterwards, outside of the message's transaction
/// ([`crate::app::news`]).
#[derive(Debug, Clone, Copy)]
pub struct Subscriptions;

impl Handler for Subscriptions {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let fact: SubscriptionFact = message.payload()?;
        news::hear(connection, fact.instance_id, fact.subscription_id, fact.reason.as_deref()).await?;
        Ok(())
    }
}

/// Erases whom user-service has erased (USR-20).
#[derive(Debug, Clone, Copy)]
pub struct Customers;

impl Handler for Customers {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let fact: CustomerFact = message.payload()?;
        erasure::erase(connection, fact.customer_id).await?;
        Ok(())
    }
}
