//! Facts of accounts and instances that billing acts on, each in the transaction of its inbox row.

use contracts::events::{CustomerFact, InstanceFact, topics};
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;

use crate::app::App;
use crate::app::subscriptions::revive::goes_on;
use crate::error::Error;
use crate::store::{checks, customers, orders};

/// Facts that billing acts on.
pub const TOPICS: &[&str] = &[
    topics::CUSTOMER_REGISTERED,
    topics::CUSTOMER_CLOSED,
    topics::INSTANCE_CREATED,
    topics::INSTANCE_PROVISIONING_FAILED,
    topics::INSTANCE_TERMINATED,
    topics::INSTANCE_UNDELETED,
];

/// The queue of this service.
pub const CONSUMER: Consumer = Consumer { queue: "billing-service.facts", topics: TOPICS };

/// Acts on facts.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Use cases.
    pub app: App,
}

impl Handler for Facts {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let now = self.app.now_within(connection).await;
        match message.topic.as_str() {
            topics::CUSTOMER_REGISTERED => {
                let fact: CustomerFact = message.payload()?;
                // Who it is the first order asks: nothing is asked of others while a connection is held.
                customers::open(connection, fact.customer_id, None).await?;
            }
            topics::CUSTOMER_CLOSED => {
                let fact: CustomerFact = message.payload()?;
                customers::close(connection, fact.customer_id, fact.occurred_at).await?;
            }
            topics::INSTANCE_CREATED => {
                let fact: InstanceFact = message.payload()?;
                orders::confirm(connection, fact.instance_id, now).await?;
            }
            topics::INSTANCE_PROVISIONING_FAILED | topics::INSTANCE_TERMINATED => {
                self.look_at(connection, &message.payload()?).await?;
            }
            topics::INSTANCE_UNDELETED => {
                let fact: InstanceFact = message.payload()?;
                orders::confirm(&mut *connection, fact.instance_id, now).await?;
                if let Some(subscription) = fact.subscription_id {
                    goes_on(connection, subscription, now).await.map_err(failure)?;
                }
                self.look_at(connection, &fact).await?;
            }
            other => tracing::debug!(topic = other, "nothing to do for billing"),
        }
        Ok(())
    }
}

/// While a peer or the database is away the fact waits; it is not the fact that fails.
fn failure(error: Error) -> Failure {
    match error {
        error @ (Error::PeerAway(_) | Error::DatabaseAway | Error::ProviderUnavailable) => {
            Failure::Away(error.into())
        }
        error => Failure::of(error.into()),
    }
}

impl Facts {
    /// A fact is a hint, and may come late: what follows is decided on the state that instance-service tells
    /// when it is asked.
    async fn look_at(&self, connection: &mut PgConnection, fact: &InstanceFact) -> Result<(), Failure> {
        let now = runtime::clock::now();
        match fact.subscription_id {
            Some(subscription) => checks::request(connection, subscription, now).await?,
            None => checks::request_of_instance(connection, fact.instance_id, now).await?,
        }
        Ok(())
    }
}
