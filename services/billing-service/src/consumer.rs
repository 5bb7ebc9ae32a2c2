//! Facts of accounts and instances that billing acts on, each in the transaction of its inbox row.

use contracts::events::{CustomerFact, InstanceFact, topics};
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::{self, Desk, end_subscription, undelete};
use crate::error::Error;
use crate::store::{customers, orders};

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
    pub desk: Desk,
}

impl Handler for Facts {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let now = self.desk.now_within(connection).await;
        match message.topic.as_str() {
            topics::CUSTOMER_REGISTERED => {
                let fact: CustomerFact = message.payload()?;
                // Only saves the first order a look-up; without it the order asks.
                let hash = self.desk.peers.email_hash(fact.customer_id).await.ok();
                customers::open(connection, fact.customer_id, hash).await?;
            }
            topics::CUSTOMER_CLOSED => {
                let fact: CustomerFact = message.payload()?;
                customers::close(connection, fact.customer_id, fact.occurred_at).await?;
            }
            topics::INSTANCE_CREATED => {
                let fact: InstanceFact = message.payload()?;
                orders::confirm(connection, fact.instance_id, now).await?;
            }
            topics::INSTANCE_PROVISIONING_FAILED => {
                let fact: InstanceFact = message.payload()?;
                self.take_back(connection, fact.instance_id, now)
                    .await
                    .map_err(|error| Failure::Retry(error.into()))?;
            }
            topics::INSTANCE_TERMINATED => {
                let fact: InstanceFact = message.payload()?;
                if let Some(subscription) = subscription(&fact)
                    && !self.is_back(subscription).await
                {
                    end_subscription(connection, &self.desk, subscription, "terminated", now)
                        .await
                        .map_err(|error| Failure::Retry(error.into()))?;
                }
            }
            topics::INSTANCE_UNDELETED => {
                let fact: InstanceFact = message.payload()?;
                if let Some(subscription) = subscription(&fact) {
                    undelete(connection, subscription, now)
                        .await
                        .map_err(|error| Failure::Retry(error.into()))?;
                }
            }
            other => tracing::debug!(topic = other, "nothing to do for billing"),
        }
        Ok(())
    }
}

fn subscription(fact: &InstanceFact) -> Option<Uuid> {
    if fact.subscription_id.is_none() {
        tracing::warn!(instance.id = %fact.instance_id, "an instance without a subscription");
    }
    fact.subscription_id
}

impl Facts {
    /// Did the instance come back since the fact of its end was sent? A fact is a hint; where nobody can say, it is believed.
    async fn is_back(&self, subscription: Uuid) -> bool {
        match self.desk.peers.instance_lives(subscription).await {
            Ok(lives) => {
                if lives {
                    tracing::info!(subscription.id = %subscription, "the instance ended and is back already");
                }
                lives
            }
            Err(status) => {
                tracing::warn!(code = ?status.code(), "nobody says whether an ended instance is back");
                false
            }
        }
    }

    /// Provisioning ended without an instance: nothing is charged, and a trial is given back.
    async fn take_back(
        &self,
        connection: &mut PgConnection,
        instance: Uuid,
        now: time::OffsetDateTime,
    ) -> Result<(), Error> {
        let Some(order) = orders::find_live(&mut *connection, instance).await? else { return Ok(()) };
        app::take_back(connection, &self.desk, &order, "provisioning_failed", now).await
    }
}
