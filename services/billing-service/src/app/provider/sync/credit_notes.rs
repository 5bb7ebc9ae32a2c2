//! What the provider took back of an invoice is a credit note here: the issued document stays as it is
//! (BIL-17). Of one that is void, or written off, nothing is asked any more, and no note says so a second
//! time.

use sqlx::PgConnection;

use super::Look;
use crate::domain::invoice::Invoice;
use crate::domain::invoice::{Claim, InvoiceKind, InvoiceStatus, credit_lines, totals};
use crate::domain::money::Money;
use crate::error::Error;
use crate::provider::{SnapshotAdjustment, SnapshotInvoice};
use crate::store::invoices::{self};
use crate::store::mirror::{self, NewMirror};

impl Look<'_> {
    pub(super) async fn credit_notes(
        &mut self,
        connection: &mut PgConnection,
        found: &SnapshotInvoice,
    ) -> Result<(), Error> {
        if found.adjustments.is_empty() {
            return Ok(());
        }
        let Some(ours) = mirror::invoice(connection, &found.provider_id).await? else { return Ok(()) };
        if !matches!(ours.status, InvoiceStatus::Open | InvoiceStatus::Paid) {
            return Ok(());
        }
        for adjustment in &found.adjustments {
            if mirror::invoice(connection, &adjustment.provider_id).await?.is_none() {
                self.credit_note(connection, &ours, adjustment).await?;
            }
        }
        Ok(())
    }

    async fn credit_note(
        &mut self,
        connection: &mut PgConnection,
        ours: &Invoice,
        found: &SnapshotAdjustment,
    ) -> Result<(), Error> {
        let noted = invoices::noted(&mut *connection, ours).await?;
        let lines = credit_lines(&ours.number, found.amount, ours.sums(), noted)?;
        let sums = totals(found.amount.currency(), &lines)?;
        let number =
            format!("{}-{}", ours.number, mirror::credit_notes(&mut *connection, ours.id).await? + 1);
        let at = if found.at.date() == self.now.date() { self.now } else { found.at };
        let new = NewMirror {
            provider_id: &found.provider_id,
            number: &number,
            customer_id: self.customer,
            subscription_id: ours.subscription_id,
            corrects_id: Some(ours.id),
            kind: InvoiceKind::CreditNote,
            claim: Claim::Debt,
            lines: &lines,
            subtotal: sums.subtotal,
            tax: sums.tax,
            total: sums.total,
            issued_at: at,
            due_at: at,
            created_at: self.now,
        };
        let id = mirror::insert_invoice(connection, &new, &ours.buyer).await?;
        invoices::set_balance(connection, id, Money::zero(found.amount.currency()), self.now).await?;
        self.changed("credit_note");
        Ok(())
    }
}
