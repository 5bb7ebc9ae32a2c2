//! Invoices.

use contracts::billing::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

use crate::dto::scalars::{Money, Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceLine {
    pub description: String,
    pub period_start: Option<Time>,
    pub period_end: Option<Time>,
    pub quantity: i32,
    pub unit_amount: Option<Money>,
    pub amount: Option<Money>,
    /// plan, proration, discount, credit, tax, manual
    #[schema(example = "plan")]
    pub kind: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Invoice {
    #[schema(format = Uuid)]
    pub invoice_id: String,
    #[schema(example = "INV-000001")]
    pub number: String,
    #[schema(format = Uuid)]
    pub customer_id: String,
    pub subscription_ids: Vec<String>,
    /// open, paid, void, written_off
    #[schema(example = "open")]
    pub status: String,
    /// unpaid, partial, paid, none
    #[schema(example = "unpaid")]
    pub payment_state: String,
    #[schema(example = "USD")]
    pub currency: Option<String>,
    pub subtotal: Option<Money>,
    pub tax: Option<Money>,
    pub total: Option<Money>,
    pub balance: Option<Money>,
    pub issued_at: Option<Time>,
    pub due_at: Option<Time>,
    pub paid_at: Option<Time>,
    pub days_overdue: u32,
    /// first, recurring, upgrade, manual, credit_note
    pub kind: String,
    #[schema(format = Uuid)]
    pub corrects_id: Option<String>,
    pub note: Option<String>,
    pub lines: Vec<InvoiceLine>,
}

impl From<pb::Invoice> for Invoice {
    fn from(invoice: pb::Invoice) -> Self {
        Self {
            currency: invoice.total.as_ref().map(|total| total.currency.clone()),
            issued_at: time(invoice.issued_at.as_ref()),
            due_at: time(invoice.due_at.as_ref()),
            paid_at: time(invoice.paid_at.as_ref()),
            subtotal: invoice.subtotal.map(Money::from),
            tax: invoice.tax.map(Money::from),
            total: invoice.total.map(Money::from),
            balance: invoice.balance.map(Money::from),
            invoice_id: invoice.id,
            number: invoice.number,
            customer_id: invoice.customer_id,
            subscription_ids: invoice.subscription_ids,
            status: invoice.status,
            payment_state: invoice.payment_state,
            days_overdue: invoice.days_overdue,
            kind: invoice.kind,
            corrects_id: text(invoice.corrects_id),
            note: text(invoice.note),
            lines: invoice
                .lines
                .into_iter()
                .map(|line| InvoiceLine {
                    period_start: time(line.period_start.as_ref()),
                    period_end: time(line.period_end.as_ref()),
                    description: line.description,
                    quantity: line.quantity,
                    unit_amount: line.unit_amount.map(Money::from),
                    amount: line.amount.map(Money::from),
                    kind: line.kind,
                })
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InvoiceList {
    pub success: bool,
    pub invoices: Vec<Invoice>,
    pub invoice_count: u64,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
    pub limit: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OneInvoice {
    pub success: bool,
    pub invoice: Invoice,
}
