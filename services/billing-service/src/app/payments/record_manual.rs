//! Money that operators handle by hand: a bank payment, a credit, a void invoice, a write-off (BIL-28,
//! BIL-29). Each with reason and audit row.

use sqlx::{Postgres, Transaction};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::credit;
use super::settle::{cleared, lock, settle};
use crate::app::App;
use crate::app::caller::Caller;
use crate::app::invoices::close::close;
use crate::domain::invoice::Invoice;
use crate::domain::invoice::InvoiceStatus;
use crate::domain::journal::{CREDIT, Entry, GOODWILL};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::Payment;
use crate::error::Error;
use crate::store::audit::{self};
use crate::store::payments::{self, NewPayment};
use crate::store::provider_calls::{self, CallKind};
use crate::store::{credits, customers, invoices, journal, mirror};

/// So long before its invoice money may have come: who knows the amount may pay ahead.
const EARLIEST: Duration = Duration::days(7);
/// So far apart the clocks of a bank and ours may be.
const LATEST: Duration = Duration::minutes(5);
/// The most that a customer's credit may come to, in minor units: far from where sums overflow, and far above
/// any real one.
const MOST_CREDIT: i64 = 1_000_000_000_000_000;

/// Records and books a bank payment. The same reference again is refused, also when two admins type it at
/// once.
pub async fn record_payment(
    app: &App,
    by: &Caller,
    invoice: Uuid,
    amount: Money,
    reference: &str,
    received_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Payment, Error> {
    if !(1..=100).contains(&reference.chars().count()) {
        return Err(Error::Field { field: "reference", message: "must have 1 to 100 characters" });
    }
    let mut tx = app.pool.begin().await?;
    let (_, invoice) = lock(&mut tx, invoice).await?;
    let first_day = invoice.issued_at.unwrap_or(now) - EARLIEST;
    if received_at < first_day || received_at > now + LATEST {
        let message = "must lie between a week before the invoice and now";
        return Err(Error::Field { field: "received_at", message });
    }
    if payments::find_by_reference(&mut *tx, "external", reference).await?.is_some() {
        return Err(Error::Refused(
            "duplicate_reference",
            "a payment with this reference was recorded before",
        ));
    }
    if invoice.status != InvoiceStatus::Open {
        return Err(Error::Refused("invoice_not_open", "the invoice is not open"));
    }
    if amount.currency() != invoice.currency() || amount.minor() <= 0 {
        return Err(Error::Field {
            field: "amount",
            message: "must be positive and in the invoice's currency",
        });
    }
    if amount.minor() > invoice.balance.minor() {
        return Err(Error::Refused("over_balance", "the amount is above what is left to pay"));
    }
    let id = Uuid::now_v7();
    let new = NewPayment {
        id,
        customer_id: invoice.customer_id,
        invoice_id: invoice.id,
        amount,
        method: "bank",
        gateway: "external",
        reference,
        reason: &by.reason,
        actor: &by.actor,
        received_at: Some(received_at),
        created_at: now,
    };
    if !payments::insert(&mut tx, &new).await? {
        return Err(Error::Refused(
            "duplicate_reference",
            "a payment with this reference was recorded before",
        ));
    }
    settle(&mut tx, app, invoice.id, id, now).await?;
    let details = serde_json::json!({ "reference": reference, "amount_minor": amount.minor() });
    audit::write(&mut tx, &by.audit("payment_recorded", invoice.customer_id, id, details)).await?;
    let payment = payments::find(&mut *tx, id).await?.ok_or(Error::NotFound("payment"))?;
    app.fail.at("payment.before_commit");
    tx.commit().await?;
    app.fail.at("payment.ended");
    Ok(payment)
}

/// Gives a credit, once for its key: who asks again gets the same one, and with another amount a refusal. It
/// pays what is open at once.
pub async fn give_credit(
    app: &App,
    by: &Caller,
    customer: Uuid,
    amount: Money,
    key: &str,
    now: OffsetDateTime,
) -> Result<Uuid, Error> {
    if amount.minor() <= 0 {
        return Err(Error::Field { field: "amount", message: "must be positive" });
    }
    // Money that is given twice by a repeated click does not come back: the key is no choice here.
    if key.is_empty() {
        return Err(Error::Field { field: "Idempotency-Key", message: "must be given" });
    }
    customers::account(&app.pool, customer).await?.ok_or(Error::NotFound("customer"))?;
    let mut tx = app.pool.begin().await?;
    let key = format!("admin:{customer}:{key}");
    if !app.provider.is_books_local() {
        return give_credit_via_provider(app, tx, by, customer, amount, &key).await;
    }
    let Some(id) = credits::give(&mut tx, customer, amount, &by.reason, &by.actor, &key, now).await? else {
        let (before, was) = credits::find_by_key(&mut *tx, &key).await?.ok_or(Error::Conflict)?;
        if was != amount {
            return Err(Error::Refused("idempotency_mismatch", "the key was used for another credit"));
        }
        return Ok(before);
    };
    if credits::left(&mut *tx, customer, amount.currency().as_str()).await? > MOST_CREDIT {
        return Err(Error::Field { field: "amount", message: "would make the customer's credit too large" });
    }
    let entry = Entry::new("credit_given", key, customer, now).transfer(CREDIT, GOODWILL, amount)?;
    journal::post(&mut tx, &entry).await?;
    let details = serde_json::json!({ "amount_minor": amount.minor() });
    audit::write(&mut tx, &by.audit("credit_given", customer, id, details)).await?;
    credit::spend(&mut tx, app, customer, amount.currency(), now).await?;
    tx.commit().await?;
    Ok(id)
}

/// What a customer has left of all their credits in a currency.
pub async fn credit_left(app: &App, customer: Uuid, currency: Currency) -> Result<Money, Error> {
    Ok(Money::new(credits::left(&app.pool, customer, currency.as_str()).await?, currency))
}

/// The provider owes it: the wish is kept, and told until it was heard.
async fn give_credit_via_provider(
    app: &App,
    mut tx: Transaction<'_, Postgres>,
    by: &Caller,
    customer: Uuid,
    amount: Money,
    key: &str,
) -> Result<Uuid, Error> {
    let details = provider_calls::amount(amount);
    let given = provider_calls::queue(&mut tx, CallKind::Credit, customer, None, key, &details).await?;
    let Some(id) = given else {
        let before = provider_calls::find_by_key(&mut *tx, key).await?.ok_or(Error::Conflict)?;
        if before.amount() != Some(amount) {
            return Err(Error::Refused("idempotency_mismatch", "the key was used for another credit"));
        }
        return Ok(before.id);
    };
    audit::write(&mut tx, &by.audit("credit_given", customer, id, details)).await?;
    tx.commit().await?;
    app.wakeup.notify();
    Ok(id)
}

/// Takes an open invoice back or writes it off; a subscription that owes nothing else is cleared.
pub async fn close_invoice(
    app: &App,
    by: &Caller,
    invoice: Uuid,
    status: InvoiceStatus,
    now: OffsetDateTime,
) -> Result<Invoice, Error> {
    let mut tx = app.pool.begin().await?;
    let (subscription, invoice) = lock(&mut tx, invoice).await?;
    if !close(&mut tx, &invoice, status, &by.reason, now).await? {
        return Err(Error::Refused("invoice_not_open", "the invoice is not open"));
    }
    if let Some(mut subscription) = subscription {
        let waits = subscription.pending.as_ref().and_then(|pending| pending.invoice_id);
        if waits == Some(invoice.id) && invoice.provider != mirror::EXTERNAL_PROVIDER {
            // Nobody can take the offer any more.
            subscription.pending = None;
        }
        cleared(&mut tx, subscription, now).await?;
    }
    let action = if status == InvoiceStatus::Void { "invoice_voided" } else { "invoice_written_off" };
    let details = serde_json::json!({ "balance_minor": invoice.balance.minor() });
    audit::write(&mut tx, &by.audit(action, invoice.customer_id, invoice.id, details)).await?;
    if invoice.provider == mirror::EXTERNAL_PROVIDER {
        let (kind, word) = match status {
            InvoiceStatus::Void => (CallKind::Void, "void"),
            _ => (CallKind::WriteOff, "write-off"),
        };
        let (key, nothing) = (format!("{word}:{}", invoice.id), serde_json::json!({}));
        provider_calls::queue(&mut tx, kind, invoice.customer_id, Some(invoice.id), &key, &nothing).await?;
    }
    let closed = invoices::find(&mut *tx, invoice.id).await?.ok_or(Error::NotFound("invoice"))?;
    tx.commit().await?;
    app.wakeup.notify();
    Ok(closed)
}
