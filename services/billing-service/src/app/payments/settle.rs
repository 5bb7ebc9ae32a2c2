//! The one place where money that arrived is booked: payment, invoice, journal, announcements, and what the
//! subscription gets for it.

use contracts::events::topics;
use messaging::outbox;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::App;
use crate::app::facts::{
    announce_fact, announce_invoice, save_and_announce, subscription_fact, to_event_amount,
};
use crate::domain::invoice::Invoice;
use crate::domain::invoice::{InvoiceKind, InvoiceStatus};
use crate::domain::journal::{self as accounts, CREDIT, Entry, RECEIVABLE};
use crate::domain::money::Money;
use crate::domain::payment::{Payment, PaymentState};
use crate::domain::subscription::Status;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::store::provider_calls::{self, CallKind};
use crate::store::{credits, invoices, journal, mirror, payments, plans, subscriptions};

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Booked now.
    Now,
    /// It was booked before: nothing was done.
    Before,
}

/// Books a payment whose money is here, once, however often it is told (BIL-26). More than the invoice's
/// balance becomes the customer's credit. Locks in the order subscription, invoice, payment, as everybody
/// does.
pub async fn settle(
    connection: &mut PgConnection,
    app: &App,
    invoice: Uuid,
    payment: Uuid,
    now: OffsetDateTime,
) -> Result<Settled, Error> {
    let (subscription, invoice) = lock(connection, invoice).await?;
    let payment = payments::lock(connection, payment).await?.ok_or(Error::NotFound("payment"))?;
    if payment.invoice_id != invoice.id || payment.amount.currency() != invoice.currency() {
        return Err(Error::Internal(anyhow::anyhow!(
            "payment {} is not of invoice {}",
            payment.id,
            invoice.id
        )));
    }
    if payment.settled || matches!(payment.state, PaymentState::Paid | PaymentState::Refunded) {
        return Ok(Settled::Before);
    }
    let open = invoice.status == InvoiceStatus::Open;
    let owed = if open { invoice.balance.minor().max(0) } else { 0 };
    let part = Money::new(payment.amount.minor().min(owed), invoice.currency());
    let rest = payment.amount.checked_add(part.checked_neg()?)?;
    let kept_here = invoice.provider != mirror::EXTERNAL_PROVIDER;
    if kept_here {
        let till = accounts::payments(&payment.gateway);
        let entry = Entry::new("payment", format!("payment:{}", payment.id), payment.customer_id, now)
            .of_payment(payment.id)
            .of_invoice(invoice.id)
            .transfer(RECEIVABLE, till.as_str(), part)?
            .transfer(CREDIT, till.as_str(), rest)?;
        journal::post(connection, &entry).await?;
    } else {
        tell(connection, &payment, part, rest).await?;
    }
    payments::set_paid(connection, payment.id, now).await?;
    if kept_here && rest.minor() > 0 {
        let key = format!("overpaid:{}", payment.id);
        credits::give(connection, payment.customer_id, rest, "overpaid", "billing-service", &key, now)
            .await?;
    }
    let left = invoice.balance.checked_add(part.checked_neg()?)?;
    if open {
        invoices::set_balance(connection, invoice.id, left, now).await?;
    }
    announce_invoice(connection, topics::PAYMENT_RECEIVED, &invoice, Some(payment.amount), now).await?;
    if open && left.minor() == 0 {
        announce_invoice(connection, topics::INVOICE_PAID, &invoice, Some(invoice.total), now).await?;
        if let Some(subscription) = subscription {
            paid(connection, app, subscription, &invoice, now).await?;
        }
    }
    if !kept_here {
        app.wakeup.notify();
    }
    app.metrics.paid();
    tracing::info!(payment.id = %payment.id, invoice.id = %invoice.id, "payment booked");
    Ok(Settled::Now)
}

/// The provider keeps the books of this invoice: it hears of the money, and of what was too much, until it
/// has heard. The customer waits for neither.
async fn tell(
    connection: &mut PgConnection,
    payment: &Payment,
    part: Money,
    rest: Money,
) -> Result<(), Error> {
    let whose = payment.customer_id;
    if part.minor() > 0 {
        let (key, details) = (format!("payment:{}", payment.id), provider_calls::amount(part));
        provider_calls::queue(connection, CallKind::Payment, whose, Some(payment.id), &key, &details).await?;
    }
    if rest.minor() > 0 {
        let (key, details) = (format!("overpaid:{}", payment.id), provider_calls::amount(rest));
        provider_calls::queue(connection, CallKind::Credit, whose, Some(payment.id), &key, &details).await?;
    }
    Ok(())
}

/// The invoice with its subscription, both locked in the order that everybody keeps.
pub async fn lock(
    connection: &mut PgConnection,
    invoice: Uuid,
) -> Result<(Option<Subscription>, Invoice), Error> {
    let found = invoices::find(&mut *connection, invoice).await?.ok_or(Error::NotFound("invoice"))?;
    let subscription = match found.subscription_id {
        Some(id) => subscriptions::lock(connection, id).await?,
        None => None,
    };
    let invoice = invoices::lock(connection, invoice).await?.ok_or(Error::NotFound("invoice"))?;
    Ok((subscription, invoice))
}

/// What a subscription gets for a paid invoice: its beginning, its upgrade, its way back (BIL-13, BIL-16,
/// BIL-21). It must be locked.
pub async fn paid(
    connection: &mut PgConnection,
    app: &App,
    mut row: Subscription,
    invoice: &Invoice,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    if row.status == Status::Ended {
        return Ok(row);
    }
    if row.status == Status::Pending && invoice.kind == InvoiceKind::First {
        let fact = row.activate(now);
        return save_and_announce(connection, row, fact, now).await;
    }
    if row.pending.as_ref().is_some_and(|pending| pending.invoice_id == Some(invoice.id)) {
        upgrade(connection, app, &mut row, now).await?;
    }
    cleared(connection, row, now).await
}

/// Nothing is owed any more: the ladder is left, a suspended instance comes back.
pub async fn cleared(
    connection: &mut PgConnection,
    mut row: Subscription,
    now: OffsetDateTime,
) -> Result<Subscription, Error> {
    let owes = invoices::oldest_due(&mut *connection, row.id).await?.is_some();
    if !owes && let Some(fact) = row.clear_debts(now) {
        return save_and_announce(connection, row, fact, now).await;
    }
    subscriptions::save(connection, &row, now).await?;
    Ok(row)
}

/// The change that waited for its payment is made.
async fn upgrade(
    connection: &mut PgConnection,
    app: &App,
    row: &mut Subscription,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let Some(pending) = row.pending.clone() else { return Ok(()) };
    let plan = plans::find(&mut *connection, &pending.plan_name, Some(pending.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    let (before, fact) = row.upgrade(&plan, now);
    subscriptions::save(connection, row, now).await?;
    announce_fact(connection, row, fact, now).await?;
    let mut fact = subscription_fact(row, now);
    fact.previous_plan = Some(before);
    fact.amount = Some(to_event_amount(plan.price));
    outbox::enqueue(connection, topics::SUBSCRIPTION_UPGRADED, row.customer_id, &fact).await?;
    app.metrics.repaired("upgraded");
    Ok(())
}
