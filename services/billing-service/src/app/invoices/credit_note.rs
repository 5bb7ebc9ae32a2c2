//! Credit notes: documents that take back what an invoice asked for.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::close::close;
use crate::app::App;
use crate::domain::invoice::Invoice;
use crate::domain::invoice::{Claim, InvoiceKind, InvoiceStatus, NewInvoice, credit_lines, totals};
use crate::domain::journal::{CREDIT, Entry, RECEIVABLE, REVENUE, TAX};
use crate::domain::money::Money;
use crate::error::Error;
use crate::store::provider_calls::{self, CallKind};
use crate::store::{credits, invoices, journal, mirror};

/// A document that takes back `amount` of a locked invoice, its tax in its share.
pub async fn credit_note(
    connection: &mut PgConnection,
    app: &App,
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
    let id = invoices::issue(connection, &app.settings.issuer, &new, sums, &invoice.buyer)
        .await?
        .ok_or(Error::Conflict)?;
    let entry = Entry::new("credit_note", format!("invoice:{id}"), invoice.customer_id, now)
        .of_invoice(id)
        .transfer(RECEIVABLE, REVENUE, sums.subtotal.checked_neg()?)?
        .transfer(RECEIVABLE, TAX, sums.tax.checked_neg()?)?;
    journal::post(connection, &entry).await?;
    Ok(id)
}

/// The same where the provider keeps the books: it takes back what nothing was paid of, until it has heard.
/// What else became of the invoice it says itself.
async fn reverse_there(
    connection: &mut PgConnection,
    invoice: &Invoice,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    if invoice.status != InvoiceStatus::Open || invoice.balance != invoice.total {
        return Ok(());
    }
    close(connection, invoice, InvoiceStatus::Void, reason, now).await?;
    let (key, nothing, whose) = (format!("void:{}", invoice.id), serde_json::json!({}), invoice.customer_id);
    provider_calls::queue(connection, CallKind::Void, whose, Some(invoice.id), &key, &nothing).await?;
    Ok(())
}

/// Nobody pays for what never was: an open invoice is void, what was paid becomes the customer's credit by a
/// credit note.
pub async fn reverse_invoice(
    connection: &mut PgConnection,
    app: &App,
    invoice: Uuid,
    reason: &str,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let Some(invoice) = invoices::lock(connection, invoice).await? else { return Ok(()) };
    if invoice.provider == mirror::EXTERNAL_PROVIDER {
        return reverse_there(connection, &invoice, reason, now).await;
    }
    if invoice.status != InvoiceStatus::Paid {
        // What was paid of an open one becomes credit with it.
        close(connection, &invoice, InvoiceStatus::Void, reason, now).await?;
        return Ok(());
    }
    let noted = invoices::credited(&mut *connection, invoice.id).await?;
    let paid = Money::new(invoice.total.minor() - noted, invoice.currency());
    if paid.minor() <= 0 {
        return Ok(());
    }
    let note = credit_note(connection, app, &invoice, paid, invoice.id, now).await?;
    let key = format!("taken-back:{}", invoice.id);
    credits::give(connection, invoice.customer_id, paid, reason, "billing-service", &key, now).await?;
    let entry = Entry::new("credit_given", key, invoice.customer_id, now)
        .of_invoice(note)
        .transfer(CREDIT, RECEIVABLE, paid)?;
    journal::post(connection, &entry).await?;
    invoices::set_balance(connection, note, Money::zero(paid.currency()), now).await?;
    Ok(())
}
