//! Issues an invoice: lines, tax, number, journal, credit, announcement, in the caller's transaction
//! (BIL-17).

use contracts::events::{Amount, BillingFact, topics};
use messaging::outbox;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Desk, charges, credit};
use crate::domain::invoice::{InvoiceStatus, NewInvoice, totals};
use crate::domain::journal::{CREDIT, Entry, RECEIVABLE, REVENUE, TAX};
use crate::domain::money::Money;
use crate::error::Error;
use crate::store::invoices::Invoice;
use crate::store::subscriptions::Subscription;
use crate::store::{credits, invoices, journal};

/// Issues it, once for its key: who asks again gets the same one. The customer's credit is used at once, so
/// it may come back paid.
pub async fn bill(connection: &mut PgConnection, desk: &Desk, mut new: NewInvoice) -> Result<Invoice, Error> {
    let buyer = charges::adorn(&mut *connection, &mut new).await?;
    let sums = totals(new.currency, &new.lines)?;
    // The number comes last: whoever holds it keeps all other issues waiting, and must wait for nobody.
    credits::lock(connection, new.customer_id, new.currency).await?;
    let Some(id) = invoices::issue(connection, &desk.terms.issuer, &new, sums, &buyer).await? else {
        return invoices::find_by_key(connection, &new.key).await?.ok_or(Error::Conflict);
    };
    charges::issued(connection, &new).await?;
    let now = new.issued_at;
    let entry = Entry::new("invoice_issued", format!("invoice:{id}"), new.customer_id, now)
        .of_invoice(id)
        .transfer(REVENUE, RECEIVABLE, sums.subtotal)?
        .transfer(TAX, RECEIVABLE, sums.tax)?;
    journal::post(connection, &entry).await?;
    let issued = invoices::find(&mut *connection, id).await?.ok_or(Error::Conflict)?;
    announce(connection, topics::INVOICE_ISSUED, &issued, Some(issued.total), now).await?;
    credit::pay_issued(connection, &issued, now).await?;
    let issued = invoices::find(&mut *connection, id).await?.ok_or(Error::Conflict)?;
    desk.metrics.invoiced();
    Ok(issued)
}

/// A fact about an invoice.
pub async fn announce(
    connection: &mut PgConnection,
    topic: &str,
    invoice: &Invoice,
    amount: Option<Money>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let mut fact = money_fact(invoice.customer_id, now);
    fact.subscription_id = invoice.subscription_id;
    fact.invoice_id = Some(invoice.id);
    fact.invoice_number = Some(invoice.number.clone());
    fact.amount = amount.map(wire);
    fact.due_at = invoice.due_at;
    let present = crate::store::invoices::find(&mut *connection, invoice.id).await?;
    fact.balance = present.map(|present| wire(present.balance));
    if let Some(subscription) = invoice.subscription_id
        && let Some(row) = crate::store::subscriptions::find(&mut *connection, subscription).await?
    {
        fact.instance_id = Some(row.instance_id);
        fact.plan = row.plan_name;
    }
    outbox::enqueue(connection, topic, invoice.customer_id, &fact).await?;
    Ok(())
}

/// A fact about money of a subscription, to be filled.
pub fn subscription_fact(row: &Subscription, now: OffsetDateTime) -> BillingFact {
    let mut fact = money_fact(row.customer_id, now);
    fact.subscription_id = Some(row.id);
    fact.instance_id = Some(row.instance_id);
    fact.plan.clone_from(&row.plan_name);
    fact
}

/// A fact about money of a customer, to be filled.
pub fn money_fact(customer_id: uuid::Uuid, now: OffsetDateTime) -> BillingFact {
    BillingFact {
        customer_id,
        subscription_id: None,
        instance_id: None,
        plan: String::new(),
        previous_plan: None,
        invoice_id: None,
        invoice_number: None,
        amount: None,
        balance: None,
        due_at: None,
        ends_at: None,
        next_step_at: None,
        retained_until: None,
        days: None,
        reason: None,
        occurred_at: now,
    }
}

/// An amount for an event.
pub fn wire(amount: Money) -> Amount {
    Amount { minor: amount.minor(), currency: amount.currency().to_string() }
}

/// Takes an open invoice back, or writes it off: balance gone, journal says where to. What was paid of one
/// that is taken back becomes the customer's credit, and nothing of it stays earned. `false`: it was not
/// open.
pub async fn close(
    connection: &mut PgConnection,
    invoice: &Invoice,
    status: InvoiceStatus,
    reason: &str,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    if !invoices::close(connection, invoice.id, status, reason).await? {
        return Ok(false);
    }
    if invoice.provider == crate::store::mirror::KEEPER {
        // The books are elsewhere.
        return Ok(true);
    }
    let entry = if status == InvoiceStatus::WrittenOff {
        Entry::new("write_off", format!("write-off:{}", invoice.id), invoice.customer_id, now).transfer(
            RECEIVABLE,
            crate::domain::journal::WRITE_OFF,
            invoice.balance,
        )?
    } else {
        let noted = invoices::noted(&mut *connection, invoice).await?;
        let kept = invoice.total.minor() - invoice.balance.minor() - noted.total.minor();
        let kept = Money::new(kept, invoice.currency());
        // What notes took back before is gone; all the rest goes now, so that nothing of net and tax stays.
        let whole = invoice.tax.checked_add(noted.tax.checked_neg()?)?;
        let open = tax_of(invoice, invoice.balance)?;
        let paid = whole.checked_add(open.checked_neg()?)?;
        if kept.minor() > 0 {
            let (reason, key) = ("invoice voided", voided_key(invoice.id));
            credits::give(connection, invoice.customer_id, kept, reason, "billing-service", &key, now)
                .await?;
        }
        Entry::new("void", format!("void:{}", invoice.id), invoice.customer_id, now)
            .transfer(RECEIVABLE, REVENUE, invoice.balance.checked_add(open.checked_neg()?)?)?
            .transfer(RECEIVABLE, TAX, open)?
            .transfer(CREDIT, REVENUE, kept.checked_add(paid.checked_neg()?)?)?
            .transfer(CREDIT, TAX, paid)?
    };
    journal::post(connection, &entry.of_invoice(invoice.id)).await?;
    Ok(true)
}

/// Key of the credit that the paid part of a voided invoice became.
pub fn voided_key(invoice: uuid::Uuid) -> String {
    format!("voided:{invoice}")
}

/// The tax in a part of an invoice.
fn tax_of(invoice: &Invoice, part: Money) -> Result<Money, Error> {
    if invoice.total.minor() == 0 {
        return Ok(invoice.tax);
    }
    Ok(invoice.tax.fraction(part.minor(), invoice.total.minor())?)
}
