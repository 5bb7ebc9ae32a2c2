//! The end of orders and subscriptions: our rows first, in one transaction with the announcement; the provider is told after it, until it
//! has heard.

use contracts::events::topics;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Desk;
use super::complete::announce;
use crate::error::Error;
use crate::provider::CancelWhen;
use crate::store::orders::{self, Order};
use crate::store::{coupons, customers, mirror, subscriptions};

/// Takes back the order of an instance that could not be stored. Unknown or taken back before: success.
pub async fn cancel_order(
    desk: &Desk,
    instance: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut tx = desk.pool.begin().await?;
    let Some(live) = orders::find_live(&mut *tx, instance).await? else { return Ok(()) };
    let Some(order) = orders::lock(&mut tx, live.id).await? else { return Ok(()) };
    if order.confirmed_at.is_some() {
        // A late compensation must not take the ground from under an instance that exists.
        return Err(Error::Confirmed);
    }
    take_back(&mut tx, &order, reason, now).await?;
    tx.commit().await?;
    tell_provider(desk, &order, now).await;
    Ok(())
}

/// Takes an order back with its subscription and its trial, as if it had never been placed.
pub async fn take_back(
    connection: &mut PgConnection,
    order: &Order,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    if !orders::cancel(connection, order.id, reason, now).await? {
        return Ok(());
    }
    customers::return_trial(connection, order.subscription_id).await?;
    coupons::give_back(connection, order.subscription_id).await?;
    if let Some(ended) = subscriptions::end(connection, order.subscription_id, reason, now).await? {
        announce(connection, topics::SUBSCRIPTION_ENDED, &ended, Some(reason), now).await?;
    }
    tracing::info!(order.id = %order.id, reason, "order taken back");
    Ok(())
}

/// Ends a subscription that was used; a trial stays used.
pub async fn end_subscription(
    connection: &mut PgConnection,
    subscription: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    if let Some(ended) = subscriptions::end(connection, subscription, reason, now).await? {
        orders::set_provider_cancel_due(&mut *connection, ended.order_id, true, now).await?;
        announce(connection, topics::SUBSCRIPTION_ENDED, &ended, Some(reason), now).await?;
        tracing::info!(subscription.id = %subscription, reason, "subscription ended");
    }
    Ok(())
}

/// The instance came back within its retention: so does its subscription, unless a provider has ended it for good.
pub async fn undelete(
    connection: &mut PgConnection,
    subscription: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    let row = subscriptions::find(&mut *connection, subscription).await?;
    if let Some(row) = row.filter(|row| row.provider == mirror::KEEPER) {
        let order = mirror::order_of(&mut *connection, row.id, row.customer_id).await?;
        if !order.is_some_and(|(_, _, due)| due) {
            tracing::warn!(subscription.id = %subscription, "the provider ended the subscription for good: the instance needs a new one");
            return Ok(());
        }
    }
    if let Some(back) = subscriptions::revive(connection, subscription, now).await? {
        orders::set_provider_cancel_due(&mut *connection, back.order_id, false, now).await?;
        announce(connection, topics::SUBSCRIPTION_RESUMED, &back, Some("undeleted"), now).await?;
        tracing::info!(subscription.id = %subscription, "subscription is back");
    }
    Ok(())
}

/// Tells the provider that a subscription ended; when it does not hear, the sweep tells it again.
pub async fn tell_provider(desk: &Desk, order: &Order, now: OffsetDateTime) {
    if let Err(error) = desk.provider.cancel(order.subscription_id, CancelWhen::Now).await {
        tracing::warn!(order.id = %order.id, error = format!("{error:#}"), "the provider does not know of the end yet");
        return;
    }
    if let Err(error) = orders::set_provider_cancel_due(&desk.pool, order.id, false, now).await {
        tracing::warn!(order.id = %order.id, error = %error, "the provider will be told again");
    }
}

/// The order of an instance whose subscription ended makes room for a new one (BIL-25). A live one stays, and is the answer to the new order.
pub async fn make_room(
    desk: &Desk,
    instance: Uuid,
    customer: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut tx = desk.pool.begin().await?;
    let Some(live) = orders::find_live(&mut *tx, instance).await? else { return Ok(()) };
    let Some(order) = orders::lock(&mut tx, live.id).await? else { return Ok(()) };
    if order.customer_id != customer {
        return Err(Error::NotFound("instance"));
    }
    let ended = subscriptions::find(&mut *tx, order.subscription_id)
        .await?
        .is_some_and(|row| row.status == crate::domain::subscription::Status::Ended);
    if ended {
        orders::cancel(&mut tx, order.id, "reactivated", now).await?;
        tx.commit().await?;
    }
    Ok(())
}
