//! The end of orders and subscriptions: our rows first, in one transaction with the announcement; the
//! provider is told after it, until it has heard.

use contracts::events::topics;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::complete::announce;
use super::payments::skip_suspended;
use super::{Desk, bill, engine, refund};
use crate::domain::invoice::InvoiceStatus;
use crate::domain::journal::{CREDIT, Entry, RECEIVABLE};
use crate::domain::ladder::LadderState;
use crate::domain::money::Money;
use crate::domain::subscription::Status;
use crate::error::Error;
use crate::provider::CancelWhen;
use crate::store::invoices::Invoice;
use crate::store::orders::{self, Order};
use crate::store::subscriptions::Subscription;
use crate::store::{coupons, credits, customers, invoices, journal, mirror, subscriptions};

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
    take_back(&mut tx, desk, &order, reason, now).await?;
    tx.commit().await?;
    tell_provider(desk, &order, now).await;
    Ok(())
}

/// Takes an order back with its subscription, its trial and its first invoice, as if it had never been
/// placed.
pub async fn take_back(
    connection: &mut PgConnection,
    desk: &Desk,
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
    let first = invoices::find_by_key(&mut *connection, &engine::first_key(order.subscription_id)).await?;
    if let Some(first) = first {
        give_back(connection, desk, first.id, reason, now).await?;
    }
    if let Some(ended) = ended {
        announce(connection, topics::SUBSCRIPTION_ENDED, &ended, Some(reason), now).await?;
    }
    tracing::info!(order.id = %order.id, reason, "order taken back");
    Ok(())
}

/// Nobody pays for what never was: an open invoice is void, what was paid becomes the customer's credit by a
/// credit note.
async fn give_back(
    connection: &mut PgConnection,
    desk: &Desk,
    invoice: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let Some(invoice) = invoices::lock(connection, invoice).await? else { return Ok(()) };
    if invoice.status != InvoiceStatus::Paid {
        // What was paid of an open one becomes credit with it.
        bill::close(connection, &invoice, InvoiceStatus::Void, reason, now).await?;
        return Ok(());
    }
    let noted = invoices::credited(&mut *connection, invoice.id).await?;
    let paid = Money::new(invoice.total.minor() - noted, invoice.currency());
    if paid.minor() <= 0 {
        return Ok(());
    }
    let note = refund::credit_note(connection, desk, &invoice, paid, invoice.id, now).await?;
    let key = format!("taken-back:{}", invoice.id);
    credits::give(connection, invoice.customer_id, paid, reason, "billing-service", &key, now).await?;
    let entry = Entry::new("credit_given", key, invoice.customer_id, now)
        .of_invoice(note)
        .transfer(CREDIT, RECEIVABLE, paid)?;
    journal::post(connection, &entry).await?;
    invoices::set_balance(connection, note, Money::zero(paid.currency()), now).await?;
    Ok(())
}

/// Ends a subscription that was used; a trial stays used, debts stay. Offers that nobody took go.
pub async fn end_subscription(
    connection: &mut PgConnection,
    desk: &Desk,
    subscription: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let Some(row) = subscriptions::lock(connection, subscription).await? else { return Ok(()) };
    if row.status == Status::Ended {
        return Ok(());
    }
    let mut offers: Vec<Uuid> = row.pending.iter().filter_map(|pending| pending.invoice_id).collect();
    if row.status == Status::Pending {
        let first = invoices::find_by_key(&mut *connection, &engine::first_key(row.id)).await?;
        offers.extend(first.map(|first| first.id));
    }
    if reason == "terminated" && row.created_at + desk.cooling_off > now {
        offers.extend(hardly_used(connection, &row).await?);
    }
    for offer in offers {
        give_back(connection, desk, offer, reason, now).await?;
    }
    if let Some(ended) = subscriptions::end(connection, subscription, reason, now).await? {
        orders::set_provider_cancel_due(&mut *connection, ended.order_id, true, now).await?;
        announce(connection, topics::SUBSCRIPTION_ENDED, &ended, Some(reason), now).await?;
        tracing::info!(subscription.id = %subscription, reason, "subscription ended");
    }
    Ok(())
}

/// The first invoice of an order whose instance ended at once, when nothing of it was paid. An instance that
/// came back has none: its data was kept for it.
async fn hardly_used(connection: &mut PgConnection, row: &Subscription) -> Result<Option<Uuid>, Error> {
    if orders::came_back(&mut *connection, row.order_id, row.instance_id).await? {
        return Ok(None);
    }
    let first = invoices::find_by_key(connection, &engine::first_key(row.id)).await?;
    let unpaid = |invoice: &Invoice| {
        invoice.status == InvoiceStatus::Open
            && invoice.balance == invoice.total
            && invoice.provider != mirror::KEEPER
    };
    Ok(first.filter(unpaid).map(|first| first.id))
}

/// The instance came back within its retention: so does its subscription, unless a provider has ended it for
/// good. What it owed it owes still, and its ladder goes on from where it stood; the time in which nothing
/// was given is not billed.
pub async fn undelete(
    connection: &mut PgConnection,
    subscription: Uuid,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let row = subscriptions::lock(&mut *connection, subscription).await?;
    if let Some(row) = row.filter(|row| row.provider == mirror::KEEPER) {
        let order = mirror::order_of(&mut *connection, row.id, row.customer_id).await?;
        if !order.is_some_and(|(_, _, due)| due) {
            tracing::warn!(subscription.id = %subscription, "the provider ended the subscription for good: the instance needs a new one");
            return Ok(());
        }
    }
    if let Some(mut back) = subscriptions::revive(connection, subscription, now).await? {
        let due = invoices::oldest_due(&mut *connection, back.id).await?;
        stand_again(&mut back, due.is_some(), now);
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
        announce(connection, topic, &back, Some(reason), now).await?;
        tracing::info!(subscription.id = %subscription, status = %back.status, "subscription is back");
        return Ok(());
    }
    // It never ended: whoever counted on an end hears that it goes on.
    if let Some(row) = subscriptions::find(&mut *connection, subscription).await?
        && row.status != Status::Ended
    {
        orders::confirm(&mut *connection, row.instance_id, now).await?;
        announce(connection, topics::SUBSCRIPTION_CHANGED, &row, Some("undeleted"), now).await?;
    }
    Ok(())
}

/// State of a subscription that comes back, in agreement with its ladder: whoever was suspended for a debt is
/// so until it is paid, for a day at least.
fn stand_again(row: &mut Subscription, owes: bool, now: OffsetDateTime) {
    // A date that passed meanwhile was met by the end; a person has brought it back after that.
    if row.cancel_at.is_some_and(|at| at <= now) {
        row.cancel_at = None;
        row.cancel_reason = None;
    }
    if row.cancel_at.is_some() {
        row.status = Status::Cancelling;
    }
    if row.provider != mirror::KEEPER {
        skip_suspended(row, now);
    }
    match row.ladder {
        _ if !owes => {
            row.ladder = LadderState::None;
            row.ladder_since = None;
        }
        LadderState::None => {}
        LadderState::Warning => row.status = Status::PastDue,
        LadderState::Suspended | LadderState::Terminated => {
            row.status = Status::Suspended;
            row.ladder = LadderState::Suspended;
            row.ladder_since = Some(now);
        }
    }
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
