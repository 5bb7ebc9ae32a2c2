//! Credit before money (BIL-29): what a customer is owed pays new invoices as they are issued, and debts that
//! are open already.

use contracts::events::topics;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::settle::{self, lock};
use crate::app::facts::announce_invoice;
use crate::app::{App, repeat};
use crate::domain::invoice::Invoice;
use crate::domain::invoice::InvoiceStatus;
use crate::domain::journal::{CREDIT, Entry, RECEIVABLE};
use crate::domain::money::{Currency, Money};
use crate::error::Error;
use crate::store::{credits, invoices, journal, mirror};

/// Customers in one round.
const BATCH: i64 = 100;

/// Uses credit for an invoice that was just issued. One over nothing is paid.
pub async fn pay_issued(
    connection: &mut PgConnection,
    invoice: &Invoice,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let used = if invoice.balance.minor() > 0 {
        credits::take(connection, invoice.customer_id, invoice.balance).await?
    } else {
        Money::zero(invoice.currency())
    };
    if used.minor() == 0 && invoice.balance.minor() > 0 {
        return Ok(());
    }
    book(connection, invoice, used, format!("credit-used:{}", invoice.id), now).await.map(drop)
}

/// Pays the debts of a customer from the credit that is left, the oldest first, and clears the ladders that
/// they moved, all in the caller's transaction, which must hold no lock on a subscription: they are all taken
/// here, in order. How many debts it was used for.
pub async fn spend(
    connection: &mut PgConnection,
    app: &App,
    customer: Uuid,
    currency: Currency,
    now: OffsetDateTime,
) -> Result<usize, Error> {
    mirror::lock_subscriptions(connection, customer).await?;
    let mut paid = 0;
    for debt in invoices::debts(&mut *connection, customer, currency).await? {
        let (subscription, invoice) = lock(connection, debt).await?;
        if invoice.status != InvoiceStatus::Open || invoice.balance.minor() <= 0 {
            continue;
        }
        let used = credits::take(connection, customer, invoice.balance).await?;
        if used.minor() == 0 {
            break;
        }
        paid += 1;
        let key = format!("credit-used:{debt}:{}", Uuid::now_v7());
        let left = book(connection, &invoice, used, key, now).await?;
        if left.minor() == 0
            && let Some(subscription) = subscription
        {
            settle::paid(connection, app, subscription, &invoice, now).await?;
        }
    }
    Ok(paid)
}

/// The same for everybody who has credit and owes something: credit also comes from what was paid too much,
/// and from what was taken back.
pub async fn spend_all(app: &App, now: OffsetDateTime) -> Result<usize, Error> {
    let mut paid = 0;
    for (customer, currency) in credits::idle(&app.pool, BATCH).await? {
        let spent = repeat(|| async move {
            let mut tx = app.pool.begin().await?;
            let spent = spend(&mut tx, app, customer, currency, now).await?;
            tx.commit().await?;
            Ok::<_, Error>(spent)
        });
        match spent.await {
            Ok(spent) => {
                paid += spent;
                tracing::info!(customer.id = %customer, "credit pays what was open");
            }
            // One customer's trouble must not keep the others' subscriptions from going on.
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(customer.id = %customer, error, "credit cannot be used yet");
            }
        }
    }
    Ok(paid)
}

/// Books used credit on a locked invoice; what is left to pay.
async fn book(
    connection: &mut PgConnection,
    invoice: &Invoice,
    used: Money,
    key: String,
    now: OffsetDateTime,
) -> Result<Money, Error> {
    let entry = Entry::new("credit_used", key, invoice.customer_id, now)
        .of_invoice(invoice.id)
        .transfer(RECEIVABLE, CREDIT, used)?;
    journal::post(connection, &entry).await?;
    let left = invoice.balance.checked_add(used.checked_neg()?)?;
    invoices::set_balance(connection, invoice.id, left, now).await?;
    if left.minor() == 0 {
        announce_invoice(connection, topics::INVOICE_PAID, invoice, Some(invoice.total), now).await?;
    }
    Ok(left)
}
