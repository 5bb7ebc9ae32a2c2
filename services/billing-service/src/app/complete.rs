//! The second half of an order: account and subscription at the provider, then our row. Each step may have
//! been done before.

use contracts::events::{SubscriptionFact, topics};
use messaging::outbox;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::bill::{subscription_fact, wire};
use super::engine::first_key;
use super::place_order::Failed;
use super::{Desk, engine};
use crate::domain::plan::Plan;
use crate::domain::subscription::{Status, begin};
use crate::error::Error;
use crate::provider::NewSubscription;
use crate::store::orders::{self, Order};
use crate::store::subscriptions::{self, NewRow, Subscription};
use crate::store::{checks, customers, invoices};

/// Makes the subscription of a placed order; exactly one, however often it is called and wherever it was cut
/// off.
pub async fn complete(
    desk: &Desk,
    order: &Order,
    plan: &Plan,
    now: OffsetDateTime,
) -> Result<Subscription, Failed> {
    if customers::provider_account(&desk.pool, order.customer_id).await?.is_none() {
        let account = desk.provider.create_account(order.customer_id).await.map_err(Failed::Provider)?;
        desk.fail.at("order.account_made");
        customers::set_provider_account(&desk.pool, order.customer_id, &account).await?;
    }
    let trial_days = if order.trial { plan.trial() } else { None };
    // A trial begins when it was ordered, also if the order was completed later.
    let beginning = begin(order.created_at, plan.billing_period, trial_days, desk.policy);
    let wanted = NewSubscription {
        id: order.subscription_id,
        customer_id: order.customer_id,
        plan_name: &plan.name,
        billing_period: plan.billing_period,
        price: plan.price,
        beginning,
    };
    let provider_id = desk.provider.create_subscription(&wanted).await.map_err(Failed::Provider)?;
    desk.fail.at("order.told_provider");

    let mut tx = desk.pool.begin().await?;
    if !orders::mark_subscribed(&mut tx, order.id, order.created_at + desk.confirm_within).await? {
        // Taken back in the meantime; the sweep tells the provider.
        return Err(Failed::Error(Error::Conflict));
    }
    let row = NewRow {
        id: order.subscription_id,
        order_id: order.id,
        customer_id: order.customer_id,
        instance_id: order.instance_id,
        plan_name: &plan.name,
        entitlement_version: order.entitlement_version,
        billing_period: plan.billing_period,
        price: plan.price,
        beginning,
        provider: desk.provider.name().as_str(),
        provider_id: &provider_id,
        created_at: order.created_at,
    };
    let first = subscriptions::insert(&mut tx, &row).await?;
    let subscription = subscriptions::find(&mut *tx, order.subscription_id)
        .await?
        .ok_or(Failed::Error(Error::NotFound("subscription")))?;
    let subscription = if first {
        // Also when no fact ever tells: a create that fails for good must not be billed.
        let by_then = runtime::clock::now() + desk.give_up_after;
        checks::request(&mut *tx, subscription.id, by_then).await?;
        announce(&mut tx, topics::SUBSCRIPTION_CREATED, &subscription, None, now).await?;
        let subscription = if desk.provider.keeps_books_here() && !order.trial {
            engine::first_invoice(&mut tx, desk, subscription, now).await.map_err(Failed::Error)?
        } else {
            subscription
        };
        reactivated(&mut tx, order, &subscription, now).await.map_err(Failed::Error)?;
        subscription
    } else {
        subscription
    };
    desk.fail.at("order.before_commit");
    tx.commit().await?;
    desk.fail.at("order.ended");
    if first {
        desk.metrics.ordered(order.trial);
        tracing::info!(subscription.id = %subscription.id, plan = plan.name, trial = order.trial, "subscription made");
    }
    Ok(subscription)
}

/// Tells the customer of an instance that comes back, once: with the row of its new subscription (BIL-25).
async fn reactivated(
    connection: &mut PgConnection,
    order: &Order,
    subscription: &Subscription,
    now: OffsetDateTime,
) -> Result<(), Error> {
    if !orders::came_back(&mut *connection, order.id, order.instance_id).await? {
        return Ok(());
    }
    let mut fact = subscription_fact(subscription, now);
    fact.ends_at = subscription.current_period_end;
    if let Some(invoice) = invoices::find_by_key(&mut *connection, &first_key(subscription.id)).await? {
        fact.invoice_id = Some(invoice.id);
        fact.balance = (subscription.status == Status::Pending).then(|| wire(invoice.balance));
        fact.amount = Some(wire(invoice.total));
        fact.due_at = invoice.due_at;
        fact.invoice_number = Some(invoice.number);
    }
    outbox::enqueue(connection, topics::SUBSCRIPTION_REACTIVATED, subscription.id, &fact).await?;
    Ok(())
}

/// Adds a fact on a subscription to the outbox.
pub(super) async fn announce(
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
