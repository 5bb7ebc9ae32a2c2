//! An invoice as a document (BIL-19).

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::domain::document::{Facts, document};
use crate::domain::invoice::Invoice;
use crate::error::Error;
use crate::pdf::{self};
use crate::store::{self, invoices, settlements};

/// Longest wait for a press.
const WAIT: Duration = Duration::from_secs(3);

/// Its bytes, the same ones for the same state of the invoice, and the name of the file.
pub async fn invoice_pdf(app: &App, invoice: Invoice) -> Result<(Vec<u8>, String), Error> {
    // One moment for all of it: a payment in between is on the document whole or not at all.
    let mut tx = app.pool.begin().await?;
    store::read_one_moment(&mut tx).await?;
    let invoice = invoices::find(&mut *tx, invoice.id).await?.ok_or(Error::NotFound("invoice"))?;
    let lines = invoices::lines(&mut *tx, invoice.id, invoice.currency()).await?;
    let settled = settlements::of_invoice(&mut tx, &invoice).await?;
    let corrects = match invoice.corrects_id {
        Some(id) => invoices::find(&mut *tx, id).await?.map(|corrected| corrected.number),
        None => None,
    };
    tx.rollback().await?;
    let customer = invoice.customer_id.to_string();
    let facts = Facts {
        number: &invoice.number,
        kind: invoice.kind,
        status: invoice.status,
        corrects: corrects.as_deref(),
        currency: invoice.currency(),
        subtotal: invoice.subtotal,
        tax: invoice.tax,
        total: invoice.total,
        balance: invoice.balance,
        buyer: &invoice.buyer,
        customer: &customer,
        note: &invoice.note,
        issued_at: invoice.issued_at,
        due_at: invoice.due_at,
        paid_at: invoice.paid_at,
        lines: &lines,
        settlements: &settled,
    };
    let documents = app.documents.clone();
    let said = document(&facts, &documents.seller)?;
    let name = file_name(&invoice.number);
    let press = tokio::time::timeout(WAIT, Arc::clone(&documents.permits).acquire_owned())
        .await
        .map_err(|_| Error::Busy)?
        .map_err(|error| Error::Internal(error.into()))?;
    let print = move || {
        let printed = pdf::render(&said, &documents.fonts);
        drop(press);
        printed
    };
    let bytes = tokio::task::spawn_blocking(print)
        .await
        .map_err(|error| Error::Internal(error.into()))?
        .map_err(|error| Error::Internal(error.into()))?;
    Ok((bytes, name))
}

/// A name that is one on every system: numbers of other keepers may hold anything.
fn file_name(number: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    format!("{}.pdf", number.chars().take(80).map(plain).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn the_name_of_the_file_leads_nowhere_else() {
        assert_eq!(file_name("INV-000001"), "INV-000001.pdf");
        assert_eq!(file_name("../a\"b\r\n"), "___a_b__.pdf");
    }
}
