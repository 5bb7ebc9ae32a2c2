//! Facts that billing announces: each goes into the outbox in the transaction of the change that it tells of.

use contracts::events::{Amount, BillingFact, SubscriptionFact, topics};
use messaging::outbox;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::invoice::Invoice;
use crate::domain::money::Money;
use crate::domain::subscription::Subscription;
use crate::domain::transitions::{Announcement, Fact};
use crate::error::Error;
use crate::store::{invoices, subscriptions};

/// Adds a fact on a subscription to the outbox.
pub async fn announce_subscription(
    connection: &mut PgConnection,
    topic: &str,
    subscription: &Subscription,
    reason: Option<&str>,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let owes = invoices::oldest_due(&mut *connection, subscription.id).await?.is_some();
    let fact = SubscriptionFact {
        subscription_id: subscription.id,
        customer_id: subscription.customer_id,
        instance_id: subscription.instance_id,
        billing_status: subscription.status.billing_status(owes).as_str().to_owned(),
        reason: reason.map(ToOwned::to_owned),
        occurred_at: now,
    };
    outbox::enqueue(connection, topic, subscription.id, &fact).await.map(drop)
}

/// A fact about an invoice.
pub async fn announce_invoice(
    connection: &mut PgConnection,
    topic: &str,
    invoice: &Invoice,
    amount: Option<Money>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut fact = money_fact(invoice.customer_id, now);
    fact.subscription_id = invoice.subscription_id;
    fact.invoice_id = Some(invoice.id);
    fact.invoice_number = Some(invoice.number.clone());
    fact.amount = amount.map(to_event_amount);
    fact.due_at = invoice.due_at;
    let present = invoices::find(&mut *connection, invoice.id).await?;
    fact.balance = present.map(|present| to_event_amount(present.balance));
    if let Some(subscription) = invoice.subscription_id
        && let Some(row) = subscriptions::find(&mut *connection, subscription).await?
    {
        fact.instance_id = Some(row.instance_id);
        fact.plan = row.plan_name;
    }
    outbox::enqueue(connection, topic, invoice.customer_id, &fact).await?;
    Ok(())
}

/// Saves and announces.
pub async fn save_and_announce(
    connection: &mut PgConnection,
    row: Subscription,
    fact: Fact,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    subscriptions::save(connection, &row, now).await?;
    announce_fact(connection, &row, fact, now).await?;
    Ok(row)
}

/// Announces what a change of a subscription returned.
pub async fn announce_fact(
    connection: &mut PgConnection,
    row: &Subscription,
    fact: Fact,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let topic = match fact.announcement {
        Announcement::Changed => topics::SUBSCRIPTION_CHANGED,
        Announcement::Suspended => topics::SUBSCRIPTION_SUSPENDED,
        Announcement::Resumed => topics::SUBSCRIPTION_RESUMED,
    };
    announce_subscription(connection, topic, row, Some(fact.reason), now).await?;
    Ok(())
}

/// Announces a changed subscription; for use cases.
pub async fn announce_change(
    connection: &mut PgConnection,
    row: &Subscription,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    announce_subscription(connection, topics::SUBSCRIPTION_CHANGED, row, Some(reason), now).await?;
    Ok(())
}

/// A fact about money of a subscription, to be filled.
pub fn subscription_fact(row: &Subscription, now: OffsetDateTime) -> BillingFact {
    let mut fact = money_fact(row.customer_id, now);
    fact.subscription_id = Some(row.id);
    fact.instance_id = Some(row.instance_id);
    fact.plan.clone_from(&row.plan_name);
    fact
}

/// A fact about money of a customer, to be filled.
pub fn money_fact(customer_id: Uuid, now: OffsetDateTime) -> BillingFact {
    BillingFact {
        customer_id,
        subscription_id: None,
        instance_id: None,
        plan: String::new(),
        previous_plan: None,
        invoice_id: None,
        invoice_number: None,
        amount: None,
        balance: None,
        due_at: None,
        ends_at: None,
        next_step_at: None,
        retained_until: None,
        days: None,
        reason: None,
        occurred_at: now,
    }
}

/// An amount for an event.
pub fn to_event_amount(amount: Money) -> Amount {
    Amount { minor: amount.minor(), currency: amount.currency().to_string() }
}
