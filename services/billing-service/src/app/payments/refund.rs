//! Refunds: money that goes back to a customer, with its credit note (BIL-29).

use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::settle::lock;
use crate::app::App;
use crate::app::caller::Caller;
use crate::app::invoices::close::voided_key;
use crate::app::invoices::credit_note::credit_note;
use crate::app::provider::refund_via_provider::{self, Refunded};
use crate::domain::invoice::Invoice;
use crate::domain::invoice::InvoiceStatus;
use crate::domain::journal::{self as accounts, CREDIT, Entry, RECEIVABLE};
use crate::domain::money::Money;
use crate::domain::payment::Payment;
use crate::domain::payment::PaymentState;
use crate::error::Error;
use crate::store::refunds::NewRefund;
use crate::store::{audit, credits, invoices, journal, mirror, payments, refunds};

/// Gives money back: first what is left of what was paid too much, then by a credit note over the invoice. A
/// repeated key gives nothing twice.
pub async fn refund(
    app: &App,
    by: &Caller,
    payment: Uuid,
    amount: Money,
    key: &str,
    now: OffsetDateTime,
) -> Result<Refunded, Error> {
    if amount.minor() <= 0 {
        return Err(Error::Field { field: "amount", message: "must be positive" });
    }
    let mut tx = app.pool.begin().await?;
    let found = payments::find(&mut *tx, payment).await?.ok_or(Error::NotFound("payment"))?;
    let (_, invoice) = lock(&mut tx, found.invoice_id).await?;
    let found = payments::lock(&mut tx, payment).await?.ok_or(Error::NotFound("payment"))?;
    let key = format!("refund:{payment}:{key}");
    if invoice.provider == mirror::EXTERNAL_PROVIDER {
        return refund_via_provider::refund(app, tx, by, &found, amount, &key).await;
    }
    if let Some((before, minor)) = refunds::find_by_key(&mut *tx, &key).await? {
        if minor != amount.minor() || amount.currency() != found.amount.currency() {
            return Err(Error::Refused("idempotency_mismatch", "the key was used for another refund"));
        }
        return Ok(Refunded { payment: found, id: before, done: true });
    }
    if amount.currency() != found.amount.currency() {
        return Err(Error::Field { field: "amount", message: "must have the currency of the payment" });
    }
    let left = found.amount.checked_add(found.refunded.checked_neg()?)?;
    if found.state != PaymentState::Paid || amount.minor() > left.minor() {
        return Err(Error::Refused("not_refundable", "the payment has not so much to give back"));
    }
    let id = give_back(&mut tx, app, by, &found, &invoice, amount, &key, now).await?;
    let payment = payments::find(&mut *tx, payment).await?.ok_or(Error::Conflict)?;
    tx.commit().await?;
    Ok(Refunded { payment, id, done: true })
}

/// Books money that goes back: out of the credit that it became, else by a credit note over the invoice.
/// Invoice and payment must be locked, and the payment must have so much left.
#[expect(clippy::too_many_arguments, reason = "a fact about one payment, told in one place")]
pub async fn give_back(
    connection: &mut PgConnection,
    app: &App,
    by: &Caller,
    paid: &Payment,
    invoice: &Invoice,
    amount: Money,
    key: &str,
    now: OffsetDateTime,
) -> Result<Uuid, Error> {
    let id = Uuid::now_v7();
    let void = invoice.status == InvoiceStatus::Void;
    let mut spare = credits::take_one(connection, &format!("overpaid:{}", paid.id), amount).await?;
    if void {
        // Its paid part is credit now; what of that is left can be given back, and a credit note would take
        // back nothing.
        let more = amount.checked_add(spare.checked_neg()?)?;
        let more = credits::take_one(connection, &voided_key(invoice.id), more).await?;
        spare = spare.checked_add(more)?;
    }
    let rest = amount.checked_add(spare.checked_neg()?)?;
    let noted = invoices::credited(&mut *connection, invoice.id).await?;
    if rest.minor() > if void { 0 } else { invoice.total.minor() - noted } {
        return Err(Error::Refused("not_refundable", "what was paid too much is used up already"));
    }
    let till = accounts::payments(&paid.gateway);
    let entry = Entry::new("refund", format!("refund-spare:{id}"), paid.customer_id, now)
        .of_payment(paid.id)
        .transfer(till.as_str(), CREDIT, spare)?;
    journal::post(connection, &entry).await?;
    if rest.minor() > 0 {
        let note = credit_note(connection, app, invoice, rest, id, now).await?;
        let entry = Entry::new("refund", format!("refund:{id}"), paid.customer_id, now)
            .of_payment(paid.id)
            .of_invoice(note)
            .transfer(till.as_str(), RECEIVABLE, rest)?;
        journal::post(connection, &entry).await?;
        invoices::set_balance(connection, note, Money::zero(rest.currency()), now).await?;
    }
    let new = NewRefund { id, payment: paid.id, amount, reason: &by.reason, actor: &by.actor, key };
    refunds::insert(connection, &new, now).await?;
    let details = json!({ "payment_id": paid.id, "amount_minor": amount.minor(), "invoice": invoice.number });
    audit::write(connection, &by.audit("payment_refunded", paid.customer_id, id, details)).await?;
    Ok(id)
}
