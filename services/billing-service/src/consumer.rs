//! Facts of accounts and instances that billing acts on, each in the transaction of its inbox row.

use contracts::events::{CustomerFact, InstanceFact, topics};
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;

use crate::app::App;
use crate::app::accounts::change::{close_account, open_account};
use crate::app::orders::complete::confirm;
use crate::app::subscriptions::instances::request_check;
use crate::app::subscriptions::revive::goes_on;
use crate::app::upkeep::erase;
use crate::error::Error;

/// Facts that billing acts on.
pub const TOPICS: &[&str] = &[
    topics::CUSTOMER_REGISTERED,
    topics::CUSTOMER_CLOSED,
    topics::CUSTOMER_ERASED,
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
                open_account(connection, fact.customer_id).await.map_err(failure)?;
            }
            topics::CUSTOMER_CLOSED => {
                let fact: CustomerFact = message.payload()?;
                close_account(connection, fact.customer_id, fact.occurred_at).await.map_err(failure)?;
            }
            topics::CUSTOMER_ERASED => {
                let fact: CustomerFact = message.payload()?;
                erase(connection, fact.customer_id).await.map_err(failure)?;
            }
            topics::INSTANCE_CREATED => {
                let fact: InstanceFact = message.payload()?;
                confirm(connection, fact.instance_id, now).await.map_err(failure)?;
            }
            topics::INSTANCE_PROVISIONING_FAILED | topics::INSTANCE_TERMINATED => {
                check(connection, &message.payload()?).await?;
            }
            topics::INSTANCE_UNDELETED => {
                let fact: InstanceFact = message.payload()?;
                confirm(&mut *connection, fact.instance_id, now).await.map_err(failure)?;
                if let Some(subscription) = fact.subscription_id {
                    goes_on(connection, subscription, now).await.map_err(failure)?;
                }
                check(connection, &fact).await?;
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

async fn check(connection: &mut PgConnection, fact: &InstanceFact) -> Result<(), Failure> {
    request_check(connection, fact.instance_id, fact.subscription_id).await.map_err(failure)
}
