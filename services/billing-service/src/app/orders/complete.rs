//! The second half of an order: account and subscription at the provider, then our row. Each step may have
//! been done before.

use contracts::events::topics;
use messaging::outbox;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::app::facts::{announce_subscription, subscription_fact, to_event_amount};
use crate::app::invoices::issue::issue_invoice;
use crate::app::invoices::new::{describe, first_key, of_subscription};
use crate::app::payments::settle::paid;
use crate::domain::invoice::{Claim, InvoiceKind, InvoiceStatus, Line, LineKind};
use crate::domain::plan::Plan;
use crate::domain::subscription::Subscription;
use crate::domain::subscription::{Status, begin};
use crate::error::Error;
use crate::provider::{NewSubscription, ProviderError};
use crate::store::orders::{self, Order};
use crate::store::subscriptions::{self, NewRow};
use crate::store::{checks, customers, invoices};

/// Why the second half of an order failed.
#[derive(Debug)]
pub enum Failed {
    /// The provider.
    Provider(ProviderError),
    /// Ours.
    Error(Error),
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error.into())
    }
}

/// Makes the subscription of a placed order; exactly one, however often it is called and wherever it was cut
/// off.
pub async fn complete(
    app: &App,
    order: &Order,
    plan: &Plan,
    now: OffsetDateTime,
) -> Result<Subscription, Failed> {
    if customers::provider_account(&app.pool, order.customer_id).await?.is_none() {
        let account = app.provider.create_account(order.customer_id).await.map_err(Failed::Provider)?;
        app.fail.at("order.account_made");
        customers::set_provider_account(&app.pool, order.customer_id, &account).await?;
    }
    let trial_days = if order.trial { plan.trial() } else { None };
    // A trial begins when it was ordered, also if the order was completed later.
    let beginning = begin(order.created_at, plan.billing_period, trial_days, app.policy);
    let wanted = NewSubscription {
        id: order.subscription_id,
        customer_id: order.customer_id,
        plan_name: &plan.name,
        billing_period: plan.billing_period,
        price: plan.price,
        beginning,
    };
    let provider_id = app.provider.create_subscription(&wanted).await.map_err(Failed::Provider)?;
    app.fail.at("order.told_provider");

    let mut tx = app.pool.begin().await?;
    if !orders::mark_subscribed(&mut tx, order.id, order.created_at + app.confirm_within).await? {
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
        provider: app.provider.name().as_str(),
        provider_id: &provider_id,
        created_at: order.created_at,
    };
    let first = subscriptions::insert(&mut tx, &row).await?;
    let subscription = subscriptions::find(&mut *tx, order.subscription_id)
        .await?
        .ok_or(Failed::Error(Error::NotFound("subscription")))?;
    let subscription = if first {
        // Also when no fact ever tells: a create that fails for good must not be billed.
        let by_then = app.real_now_within(&mut tx).await + app.give_up_after;
        checks::request(&mut *tx, subscription.id, by_then).await?;
        announce_subscription(&mut tx, topics::SUBSCRIPTION_CREATED, &subscription, None, now).await?;
        let subscription = if app.provider.is_books_local() && !order.trial {
            first_invoice(&mut tx, app, subscription, now).await.map_err(Failed::Error)?
        } else {
            subscription
        };
        reactivated(&mut tx, order, &subscription, now).await.map_err(Failed::Error)?;
        subscription
    } else {
        subscription
    };
    app.fail.at("order.before_commit");
    tx.commit().await?;
    app.fail.at("order.ended");
    if first {
        app.metrics.ordered(order.trial);
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
        fact.balance = (subscription.status == Status::Pending).then(|| to_event_amount(invoice.balance));
        fact.amount = Some(to_event_amount(invoice.total));
        fact.due_at = invoice.due_at;
        fact.invoice_number = Some(invoice.number);
    }
    outbox::enqueue(connection, topics::SUBSCRIPTION_REACTIVATED, subscription.id, &fact).await?;
    Ok(())
}

/// The first invoice of an order without trial, issued with its subscription (BIL-13). Paid at once by
/// credit: the subscription begins.
async fn first_invoice(
    connection: &mut PgConnection,
    app: &App,
    row: Subscription,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    let text = describe(connection, &row).await?;
    let line = Line::one(LineKind::Plan, text, row.price, row.period());
    // What waits for its first payment was given nothing yet: nobody owes it.
    let claim = if row.status == Status::Pending { Claim::Offer } else { Claim::Debt };
    let new = of_subscription(app, &row, (InvoiceKind::First, claim), first_key(row.id), vec![line], now);
    let issued = issue_invoice(connection, app, new).await?;
    if issued.status == InvoiceStatus::Paid {
        return paid(connection, app, row, &issued, now).await;
    }
    Ok(row)
}

/// The instance of an order exists: the order is confirmed.
pub async fn confirm(
    connection: &mut PgConnection,
    instance: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    orders::confirm(connection, instance, now).await?;
    Ok(())
}
