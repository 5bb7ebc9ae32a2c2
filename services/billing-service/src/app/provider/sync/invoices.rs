//! Invoices, payments and balances brought to the provider's state. A mirrored invoice is as immutable as one
//! of ours: only what is left to pay moves. The provider keeps the books, so nothing is booked in our
//! journal.

use contracts::events::topics;
use sqlx::PgConnection;
use time::Duration;
use uuid::Uuid;

use super::Look;
use crate::app::facts::announce_invoice;
use crate::app::payments::settle::{cleared, paid};
use crate::domain::invoice::{Claim, InvoiceKind, InvoiceStatus, Line, LineKind};
use crate::domain::money::{Money, MoneyError};
use crate::domain::payment::Payment;
use crate::domain::payment::PaymentState;
use crate::domain::subscription::{Status, Subscription};
use crate::error::Error;
use crate::provider::{SnapshotInvoice, SnapshotPayment};
use crate::store::mirror::{self, NewMirror};
use crate::store::payments::NewPayment;
use crate::store::provider_calls::{self, CallKind};
use crate::store::subscriptions::{self};
use crate::store::{customers, invoices, payments};

/// Credit that comes and goes is no document for the customer, nor is one over nothing, such as that of a
/// trial.
fn is_document(invoice: &SnapshotInvoice) -> bool {
    invoice.lines.iter().any(|line| line.kind != LineKind::Credit && line.amount.minor() != 0)
}

/// Lines that the total is made of: use of credit is a matter of the balance.
fn lines_of(invoice: &SnapshotInvoice) -> Result<(Vec<Line>, Money), MoneyError> {
    let lines: Vec<Line> =
        invoice.lines.iter().filter(|line| line.kind != LineKind::Credit).cloned().collect();
    let mut tax = Money::zero(invoice.total.currency());
    for line in lines.iter().filter(|line| line.kind == LineKind::Tax) {
        tax = tax.checked_add(line.amount)?;
    }
    Ok((lines, tax))
}

/// Why it exists. `is_first`: the subscription has none yet.
fn kind_of(invoice: &SnapshotInvoice, row: Option<&Subscription>, is_first: bool) -> InvoiceKind {
    let Some(row) = row else { return InvoiceKind::Manual };
    let waits = row.pending.as_ref();
    if invoice.total.minor() < 0 {
        InvoiceKind::CreditNote
    } else if invoice.lines.iter().any(|line| line.kind == LineKind::Proration)
        || waits.is_some_and(|pending| pending.effective_at.is_none() && pending.invoice_id.is_none())
    {
        InvoiceKind::Upgrade
    } else if is_first && row.trial_ends_at.is_none() {
        InvoiceKind::First
    } else {
        InvoiceKind::Recurring
    }
}

/// What waits for its first payment was given nothing yet: nobody owes it. Whatever else Kill Bill charges was
/// given there, a change that waits here for its payment too, and is a debt until it is void there.
fn claim_of(row: Option<&Subscription>) -> Claim {
    if row.is_some_and(|row| row.status == Status::Pending) { Claim::Offer } else { Claim::Debt }
}

impl Look<'_> {
    pub(super) async fn invoices(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        let snapshot = self.snapshot;
        for invoice in snapshot.invoices.iter().filter(|invoice| is_document(invoice)) {
            match mirror::invoice(connection, &invoice.provider_id).await? {
                Some(ours) if ours.total != invoice.total => {
                    tracing::warn!(invoice.id = %ours.id, "the provider changed an invoice that was issued");
                }
                // Nobody saw it, and nobody shall.
                None if invoice.void => continue,
                Some(_) => {}
                None => self.issue(connection, invoice).await?,
            }
            self.credit_notes(connection, invoice).await?;
        }
        Ok(())
    }

    async fn issue(&mut self, connection: &mut PgConnection, found: &SnapshotInvoice) -> Result<(), Error> {
        let row = match found.subscription_id {
            Some(id) => match subscriptions::find(&mut *connection, id).await? {
                Some(row) => Some(row),
                // Its order is on its way: the invoice is mirrored with it.
                None => return Ok(()),
            },
            None => None,
        };
        let is_first = match &row {
            Some(row) => !mirror::has_invoice(&mut *connection, row.id).await?,
            None => false,
        };
        let kind = kind_of(found, row.as_ref(), is_first);
        let (lines, tax) = lines_of(found)?;
        let now = self.now;
        let issued_at = if found.issued_at.date() == now.date() { now } else { found.issued_at };
        // Nobody is late with an invoice that he could not see.
        let due_at = now + Duration::days(self.app.settings.due_days.into());
        let new = NewMirror {
            provider_id: &found.provider_id,
            number: &found.number,
            customer_id: self.customer,
            subscription_id: row.as_ref().map(|row| row.id),
            corrects_id: None,
            kind,
            claim: claim_of(row.as_ref()),
            lines: &lines,
            subtotal: found.total.checked_add(tax.checked_neg()?)?,
            tax,
            total: found.total,
            issued_at,
            due_at,
            created_at: now,
        };
        let buyer = customers::buyer(&mut *connection, self.customer).await?;
        let id = mirror::insert_invoice(connection, &new, &buyer).await?;
        let ours = invoices::find(&mut *connection, id).await?.ok_or(Error::Conflict)?;
        announce_invoice(connection, topics::INVOICE_ISSUED, &ours, Some(ours.total), now).await?;
        self.app.metrics.invoiced();
        self.changed("invoice");
        if let (InvoiceKind::Upgrade, Some(mut row)) = (kind, row)
            && let Some(pending) = row.pending.as_mut().filter(|pending| pending.effective_at.is_none())
        {
            pending.invoice_id = Some(id);
            subscriptions::save(connection, &row, now).await?;
        }
        Ok(())
    }

    pub(super) async fn payments(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        let snapshot = self.snapshot;
        for found in snapshot.payments.iter().filter(|found| found.paid && found.amount.minor() > 0) {
            let Some(invoice) = mirror::invoice(connection, &found.provider_invoice_id).await? else {
                continue;
            };
            let ours = self.payment(connection, found, invoice.id).await?;
            if matches!(ours.state, PaymentState::Pending | PaymentState::Failed | PaymentState::Cancelled) {
                payments::set_paid(connection, ours.id, self.now).await?;
                announce_invoice(connection, topics::PAYMENT_RECEIVED, &invoice, Some(ours.amount), self.now)
                    .await?;
                self.app.metrics.paid();
                self.changed("payment");
            }
            // Kill Bill takes refunds of more than was paid; ours is a payment, not a debt.
            let refunded =
                Money::new(found.refunded.minor().min(ours.amount.minor()), ours.amount.currency());
            if refunded.minor() < found.refunded.minor() {
                tracing::error!(payment.id = %ours.id, "the provider gave more back than was paid");
            }
            if mirror::set_refunded(connection, ours.id, refunded, self.now).await? {
                self.changed("refund");
            }
            let told = self.calls.iter().filter(|call| call.kind == CallKind::Payment);
            if let Some(call) = told.into_iter().find(|call| call.subject_id == found.key) {
                provider_calls::close(&mut *connection, call.id, "done", "").await?;
            }
        }
        Ok(())
    }

    /// Our row of a payment; one that was made at the provider gets one.
    async fn payment(
        &self,
        connection: &mut PgConnection,
        found: &SnapshotPayment,
        invoice: Uuid,
    ) -> Result<Payment, Error> {
        if let Some(key) = found.key
            && let Some(ours) = payments::find(&mut *connection, key).await?
            && ours.customer_id == self.customer
        {
            return Ok(ours);
        }
        let id = Uuid::now_v7();
        let new = NewPayment {
            id,
            customer_id: self.customer,
            invoice_id: invoice,
            amount: found.amount,
            method: "external",
            gateway: mirror::EXTERNAL_PROVIDER,
            reference: &found.provider_id,
            reason: "recorded at the billing provider",
            actor: mirror::EXTERNAL_PROVIDER,
            received_at: Some(found.at),
            created_at: self.now,
        };
        payments::insert(connection, &new).await?;
        let ours =
            payments::find_by_reference(connection, mirror::EXTERNAL_PROVIDER, &found.provider_id).await?;
        ours.ok_or(Error::Conflict)
    }

    /// What is left to pay, less the money that is here and that the provider was not told of yet.
    pub(super) async fn balances(&mut self, connection: &mut PgConnection) -> Result<(), Error> {
        let snapshot = self.snapshot;
        for found in &snapshot.invoices {
            let Some(ours) = mirror::invoice(connection, &found.provider_id).await? else { continue };
            if !matches!(ours.status, InvoiceStatus::Open | InvoiceStatus::Paid) {
                continue;
            }
            if found.void {
                if invoices::close(connection, ours.id, InvoiceStatus::Void, "voided at the billing provider")
                    .await?
                {
                    self.changed("balance");
                    self.unburden(connection, ours.subscription_id).await?;
                }
                continue;
            }
            let untold = self.untold(connection, ours.id, found).await?;
            let left = found.balance.checked_add(untold.checked_neg()?)?;
            let left = Money::new(left.minor().max(0), left.currency());
            if left == ours.balance && (left.minor() > 0 || ours.status == InvoiceStatus::Paid) {
                continue;
            }
            invoices::set_balance(connection, ours.id, left, self.now).await?;
            self.changed("balance");
            if left.minor() == 0 && ours.total.minor() > 0 {
                announce_invoice(connection, topics::INVOICE_PAID, &ours, Some(ours.total), self.now).await?;
                if let Some(id) = ours.subscription_id
                    && let Some(row) = subscriptions::find(&mut *connection, id).await?
                {
                    paid(connection, self.app, row, &ours, self.now).await?;
                }
            }
        }
        Ok(())
    }

    async fn untold(
        &self,
        connection: &mut PgConnection,
        invoice: Uuid,
        found: &SnapshotInvoice,
    ) -> Result<Money, Error> {
        let mut sum = Money::zero(found.total.currency());
        for call in self.calls.iter().filter(|call| call.kind == CallKind::Payment) {
            let is_told = self.snapshot.payments.iter().any(|payment| payment.key == call.subject_id);
            let Some(payment) = call.subject_id.filter(|_| !is_told) else { continue };
            if let Some(payment) = payments::find(&mut *connection, payment).await?
                && payment.invoice_id == invoice
            {
                sum = sum.checked_add(payment.amount)?;
            }
        }
        Ok(sum)
    }

    async fn unburden(&self, connection: &mut PgConnection, subscription: Option<Uuid>) -> Result<(), Error> {
        if let Some(id) = subscription
            && let Some(row) = subscriptions::find(&mut *connection, id).await?
        {
            cleared(connection, row, self.now).await?;
        }
        Ok(())
    }
}
