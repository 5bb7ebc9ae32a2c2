//! The way back: an instance was undeleted within its retention, and its subscription follows.

use contracts::events::topics;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::facts::{announce_change, announce_subscription};
use crate::domain::invoice::InvoiceStatus;
use crate::domain::subscription::Status;
use crate::error::Error;
use crate::store::{invoices, mirror, orders, subscriptions};

/// The instance came back within its retention: so does its subscription, unless a provider has ended it for
/// good. What it owed it owes still, and its ladder goes on from where it stood; the time in which nothing
/// was given is not billed.
pub async fn undelete(
    connection: &mut PgConnection,
    subscription: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let row = subscriptions::lock(&mut *connection, subscription).await?;
    if let Some(row) = row.filter(|row| row.provider == mirror::EXTERNAL_PROVIDER) {
        let order = mirror::order_of(&mut *connection, row.id, row.customer_id).await?;
        if !order.is_some_and(|(_, _, due)| due) {
            tracing::warn!(subscription.id = %subscription, "the provider ended the subscription for good: the instance needs a new one");
            return Ok(());
        }
    }
    if let Some(mut back) = subscriptions::revive(connection, subscription, now).await? {
        let due = invoices::oldest_due(&mut *connection, back.id).await?;
        back.come_back(due.is_some(), back.provider != mirror::EXTERNAL_PROVIDER, now);
        let charges = invoices::charges(&mut *connection, back.id).await?;
        let void = charges.first().is_some_and(|last| last.status == InvoiceStatus::Void);
        if void && !back.in_trial() && back.current_period_start.is_some_and(|start| start < now) {
            // The period was given back when the instance ended: a new one begins, and is billed.
            back.current_period_end = Some(now);
        }
        subscriptions::save(connection, &back, now).await?;
        orders::set_provider_cancel_due(&mut *connection, back.order_id, false, now).await?;
        let (topic, reason) = match back.status {
            Status::Suspended => (topics::SUBSCRIPTION_SUSPENDED, "overdue"),
            _ => (topics::SUBSCRIPTION_RESUMED, "undeleted"),
        };
        announce_subscription(connection, topic, &back, Some(reason), now).await?;
        tracing::info!(subscription.id = %subscription, status = %back.status, "subscription is back");
        return Ok(());
    }
    // It never ended: whoever counted on an end hears that it goes on.
    if let Some(row) = subscriptions::find(&mut *connection, subscription).await?
        && row.status != Status::Ended
    {
        orders::confirm(&mut *connection, row.instance_id, now).await?;
        announce_subscription(connection, topics::SUBSCRIPTION_CHANGED, &row, Some("undeleted"), now).await?;
    }
    Ok(())
}

/// An instance came back: whoever counted on its end hears that its subscription goes on.
pub async fn goes_on(
    connection: &mut PgConnection,
    subscription: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    if let Some(row) = subscriptions::find(&mut *connection, subscription).await?
        && row.status != Status::Ended
    {
        announce_change(connection, &row, "undeleted", now).await?;
    }
    Ok(())
}
