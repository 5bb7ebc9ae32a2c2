//! Events of the bus → rows of the queue, in the transaction of the inbox row (NTF-09).

use contracts::events::{BillingFact, CustomerFact, InstanceFact, topics};
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;

use crate::app::{self, Error, Order, Post};

/// Facts that customers hear of.
pub const TOPICS: &[&str] = &[
    topics::CUSTOMER_VERIFIED,
    topics::CUSTOMER_PASSWORD_CHANGED,
    topics::CUSTOMER_LOGIN_BLOCKED,
    topics::INSTANCE_PROVISIONING_STARTED,
    topics::INSTANCE_READY,
    topics::INSTANCE_PROVISIONING_FAILED,
    topics::INSTANCE_STARTED,
    topics::INSTANCE_STOPPED,
    topics::INSTANCE_SUSPENDED,
    topics::INSTANCE_RESUMED,
    topics::INSTANCE_TERMINATED,
    topics::INVOICE_ISSUED,
    topics::INVOICE_PAID,
    topics::PAYMENT_RECEIVED,
    topics::PAYMENT_FAILED,
    topics::INVOICE_REMINDER,
    topics::OVERDUE,
    topics::TRIAL_ENDING,
    topics::SUBSCRIPTION_UPGRADED,
    topics::SUBSCRIPTION_CANCELLED,
    topics::SUBSCRIPTION_REACTIVATED,
    topics::SUBSCRIPTION_EXPIRED,
    topics::SERVICE_TERMINATED,
];

/// The queue of this service.
pub const CONSUMER: Consumer = Consumer { queue: "notification-service.mails", topics: TOPICS };

/// Orders the mail of each fact.
#[derive(Debug, Clone)]
pub struct Mails {
    /// Writes the rows.
    pub post: Post,
}

impl Handler for Mails {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let (customer_id, mail) = if message.topic.starts_with("customer.") {
            let fact: CustomerFact = message.payload()?;
            (fact.customer_id, app::announce_customer(&message.topic, fact))
        } else if message.topic.starts_with("billing.") {
            let fact: BillingFact = message.payload()?;
            (fact.customer_id, app::announce_billing(&message.topic, fact))
        } else {
            let fact: InstanceFact = message.payload()?;
            (fact.customer_id, app::announce_instance(&message.topic, fact))
        };
        let Some((template, variables)) = mail else { return Ok(()) };
        let order = Order {
            dedupe_key: message.id.to_string(),
            customer_id,
            template_name: template.to_owned(),
            variables,
            test: false,
        };
        match self.post.order(connection, order).await {
            Ok(_) => Ok(()),
            Err(Error::Away(error)) => Err(error.into()),
            Err(Error::Internal(error)) => Err(Failure::of(error)),
            Err(error) => Err(Failure::Dead(error.into())),
        }
    }
}
