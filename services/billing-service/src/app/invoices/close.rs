//! Closes an open invoice: it is void, or written off.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::invoice::Invoice;
use crate::domain::invoice::InvoiceStatus;
use crate::domain::journal::{CREDIT, Entry, RECEIVABLE, REVENUE, TAX, WRITE_OFF};
use crate::domain::money::Money;
use crate::error::Error;
use crate::store::{credits, invoices, journal, mirror};

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
    if invoice.provider == mirror::EXTERNAL_PROVIDER {
        // The books are elsewhere.
        return Ok(true);
    }
    let entry = if status == InvoiceStatus::WrittenOff {
        Entry::new("write_off", format!("write-off:{}", invoice.id), invoice.customer_id, now).transfer(
            RECEIVABLE,
            WRITE_OFF,
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
pub fn voided_key(invoice: Uuid) -> String {
    format!("voided:{invoice}")
}

/// The tax in a part of an invoice.
fn tax_of(invoice: &Invoice, part: Money) -> Result<Money, Error> {
    if invoice.total.minor() == 0 {
        return Ok(invoice.tax);
    }
    Ok(invoice.tax.fraction(part.minor(), invoice.total.minor())?)
}
