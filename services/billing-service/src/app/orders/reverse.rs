//! The end of orders and subscriptions: our rows first, in one transaction with the announcement; the
//! provider is told after it, until it has heard.

use contracts::events::topics;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::app::facts::announce_subscription;
use crate::app::invoices::credit_note::reverse_invoice;
use crate::app::invoices::new::first_key;
use crate::error::Error;
use crate::provider::CancelWhen;
use crate::store::orders::{self, Order};
use crate::store::{coupons, customers, invoices, subscriptions};

/// Takes back the order of an instance that could not be stored. Unknown or taken back before: success.
pub async fn cancel_order(app: &App, instance: Uuid, reason: &str, now: OffsetDateTime) -> Result<(), Error> {
    let mut tx = app.pool.begin().await?;
    let Some(live) = orders::find_live(&mut *tx, instance).await? else { return Ok(()) };
    let Some(order) = orders::lock(&mut tx, live.id).await? else { return Ok(()) };
    if order.confirmed_at.is_some() {
        // A late compensation must not take the ground from under an instance that exists.
        return Err(Error::Confirmed);
    }
    reverse_order(&mut tx, app, &order, reason, now).await?;
    tx.commit().await?;
    tell_provider(app, &order, now).await;
    Ok(())
}

/// Takes an order back with its subscription, its trial and its first invoice, as if it had never been
/// placed.
pub async fn reverse_order(
    connection: &mut PgConnection,
    app: &App,
    order: &Order,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    orders::lock(connection, order.id).await?;
    if !orders::cancel(connection, order.id, reason, now).await? {
        return Ok(());
    }
    customers::return_trial(connection, order.subscription_id).await?;
    coupons::give_back(connection, order.subscription_id).await?;
    let ended = subscriptions::end(connection, order.subscription_id, reason, now).await?;
    let first = invoices::find_by_key(&mut *connection, &first_key(order.subscription_id)).await?;
    if let Some(first) = first {
        reverse_invoice(connection, app, first.id, reason, now).await?;
    }
    if let Some(ended) = ended {
        announce_subscription(connection, topics::SUBSCRIPTION_ENDED, &ended, Some(reason), now).await?;
    }
    tracing::info!(order.id = %order.id, reason, "order taken back");
    Ok(())
}

/// Tells the provider that a subscription ended; when it does not hear, the sweep tells it again.
pub async fn tell_provider(app: &App, order: &Order, now: OffsetDateTime) {
    if let Err(error) = app.provider.cancel(order.subscription_id, CancelWhen::Now).await {
        tracing::warn!(order.id = %order.id, error = format!("{error:#}"), "the provider does not know of the end yet");
        return;
    }
    if let Err(error) = orders::set_provider_cancel_due(&app.pool, order.id, false, now).await {
        tracing::warn!(order.id = %order.id, error = %error, "the provider will be told again");
    }
}
