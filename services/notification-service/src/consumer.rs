//! Events of the bus → rows of the queue, in the transaction of the inbox row (NTF-09).

use contracts::events::{BillingFact, CustomerFact, InstanceFact, topics};
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::app::{self, Announced, Error, MailQueue, Order};

/// Facts that customers hear of, and the one after which they hear nothing any more.
pub const TOPICS: &[&str] = &[
    topics::CUSTOMER_VERIFIED,
    topics::CUSTOMER_PASSWORD_CHANGED,
    topics::CUSTOMER_LOGIN_BLOCKED,
    topics::CUSTOMER_ERASED,
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
    /// Takes the orders.
    pub queue: MailQueue,
}

impl Handler for Mails {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let done = if message.topic == topics::CUSTOMER_ERASED {
            let fact: CustomerFact = message.payload()?;
            app::erase(connection, &[fact.customer_id]).await.map(drop)
        } else {
            let Some((customer_id, mail)) = announced(message)? else { return Ok(()) };
            let order = Order {
                dedupe_key: mail.tells.unwrap_or_else(|| message.id.to_string()),
                customer_id,
                template_name: mail.template.to_owned(),
                variables: mail.variables,
                unless: mail.unless,
                test: false,
            };
            self.queue.order(connection, order).await.map(drop)
        };
        match done {
            Ok(()) => Ok(()),
            Err(Error::Away(error)) => Err(error.into()),
            Err(Error::Internal(error)) => Err(Failure::of(error)),
            Err(error) => Err(Failure::Dead(error.into())),
        }
    }
}

/// Whose mail a fact gives, and which.
fn announced(message: &Message) -> Result<Option<(Uuid, Announced)>, Failure> {
    let topic = message.topic.as_str();
    let (customer_id, mail) = if topic.starts_with("customer.") {
        let fact: CustomerFact = message.payload()?;
        (fact.customer_id, app::announce_customer(topic, fact))
    } else if topic.starts_with("billing.") {
        let fact: BillingFact = message.payload()?;
        (fact.customer_id, app::announce_billing(topic, fact))
    } else {
        let fact: InstanceFact = message.payload()?;
        (fact.customer_id, app::announce_instance(topic, fact))
    };
    Ok(mail.map(|mail| (customer_id, mail)))
}
