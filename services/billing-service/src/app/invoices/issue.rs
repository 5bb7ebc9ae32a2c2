//! Issues an invoice: lines, tax, number, journal, credit, announcement, in the caller's transaction
//! (BIL-17).

use contracts::events::topics;
use sqlx::PgConnection;

use super::charges;
use crate::app::App;
use crate::app::facts::announce_invoice;
use crate::app::payments::credit;
use crate::domain::invoice::Invoice;
use crate::domain::invoice::{NewInvoice, totals};
use crate::domain::journal::{Entry, RECEIVABLE, REVENUE, TAX};
use crate::error::Error;
use crate::store::{credits, invoices, journal};

/// Issues it, once for its key: who asks again gets the same one. The customer's credit is used at once, so
/// it may come back paid.
pub async fn issue_invoice(
    connection: &mut PgConnection,
    app: &App,
    mut new: NewInvoice,
) -> Result<Invoice, Error> {
    let buyer = charges::apply_discounts_and_tax(&mut *connection, &mut new).await?;
    let sums = totals(new.currency, &new.lines)?;
    // The number comes last: whoever holds it keeps all other issues waiting, and must wait for nobody.
    credits::lock(connection, new.customer_id, new.currency).await?;
    let Some(id) = invoices::issue(connection, &app.settings.issuer, &new, sums, &buyer).await? else {
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
    announce_invoice(connection, topics::INVOICE_ISSUED, &issued, Some(issued.total), now).await?;
    credit::pay_issued(connection, &issued, now).await?;
    let issued = invoices::find(&mut *connection, id).await?.ok_or(Error::Conflict)?;
    app.metrics.invoiced();
    Ok(issued)
}
