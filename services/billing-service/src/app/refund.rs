//! Refunds: money that goes back to a customer, with its credit note (BIL-29).

use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::payments::lock;
use super::record::By;
use super::{Desk, bill, refund_there};
use crate::domain::invoice::{Claim, InvoiceKind, InvoiceStatus, NewInvoice, credit_lines, totals};
use crate::domain::journal::{self as accounts, CREDIT, Entry, RECEIVABLE, REVENUE, TAX};
use crate::domain::money::Money;
use crate::domain::payment::PaymentState;
use crate::error::Error;
use crate::store::invoices::Invoice;
use crate::store::payments::Payment;
use crate::store::refunds::NewRefund;
use crate::store::{audit, credits, invoices, journal, mirror, payments, refunds};

/// A refund that was taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refunded {
    /// The payment after it.
    pub payment: Payment,
    /// The refund.
    pub id: Uuid,
    /// The books have it; else the provider that keeps them hears of it later.
    pub done: bool,
}

/// Gives money back: first what is left of what was paid too much, then by a credit note over the invoice. A
/// repeated key gives nothing twice.
pub async fn refund(
    desk: &Desk,
    by: &By,
    payment: Uuid,
    amount: Money,
    key: &str,
    now: OffsetDateTime,
) -> Result<Refunded, Error> {
    if amount.minor() <= 0 {
        return Err(Error::Field { field: "amount", message: "must be positive" });
    }
    let mut tx = desk.pool.begin().await?;
    let found = payments::find(&mut *tx, payment).await?.ok_or(Error::NotFound("payment"))?;
    let (_, invoice) = lock(&mut tx, found.invoice_id).await?;
    let found = payments::lock(&mut tx, payment).await?.ok_or(Error::NotFound("payment"))?;
    let key = format!("refund:{payment}:{key}");
    if invoice.provider == mirror::KEEPER {
        return refund_there::refund(desk, tx, by, &found, amount, &key).await;
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
    let id = give_back(&mut tx, desk, by, &found, &invoice, amount, &key, now).await?;
    let payment = payments::find(&mut *tx, payment).await?.ok_or(Error::Conflict)?;
    tx.commit().await?;
    Ok(Refunded { payment, id, done: true })
}

/// Books money that goes back: out of the credit that it became, else by a credit note over the invoice.
/// Invoice and payment must be locked, and the payment must have so much left.
#[expect(clippy::too_many_arguments, reason = "a fact about one payment, told in one place")]
pub async fn give_back(
    connection: &mut PgConnection,
    desk: &Desk,
    by: &By,
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
        let more = credits::take_one(connection, &bill::voided_key(invoice.id), more).await?;
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
        let note = credit_note(connection, desk, invoice, rest, id, now).await?;
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

/// A document that takes back `amount` of a locked invoice, its tax in its share.
pub(super) async fn credit_note(
    connection: &mut PgConnection,
    desk: &Desk,
    invoice: &Invoice,
    amount: Money,
    refund: Uuid,
    now: OffsetDateTime,
) -> Result<Uuid, Error> {
    let noted = invoices::noted(&mut *connection, invoice).await?;
    let new = NewInvoice {
        customer_id: invoice.customer_id,
        subscription_id: invoice.subscription_id,
        kind: InvoiceKind::CreditNote,
        claim: Claim::Debt,
        key: format!("credit-note:{refund}"),
        currency: amount.currency(),
        lines: credit_lines(&invoice.number, amount, invoice.sums(), noted)?,
        note: invoice.note.clone(),
        corrects_id: Some(invoice.id),
        issued_at: now,
        due_at: now,
    };
    let sums = totals(new.currency, &new.lines)?;
    let id = invoices::issue(connection, &desk.terms.issuer, &new, sums, &invoice.buyer)
        .await?
        .ok_or(Error::Conflict)?;
    let entry = Entry::new("credit_note", format!("invoice:{id}"), invoice.customer_id, now)
        .of_invoice(id)
        .transfer(RECEIVABLE, REVENUE, sums.subtotal.checked_neg()?)?
        .transfer(RECEIVABLE, TAX, sums.tax.checked_neg()?)?;
    journal::post(connection, &entry).await?;
    Ok(id)
}
