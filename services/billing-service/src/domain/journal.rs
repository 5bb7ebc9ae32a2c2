//! Double entry: a fact about money, as amounts that sum to nothing.

use time::OffsetDateTime;
use uuid::Uuid;

use super::money::{Money, MoneyError};

/// Customers' debts.
pub const RECEIVABLE: &str = "receivable";
/// What was earned.
pub const REVENUE: &str = "revenue";
/// Owed to the tax office.
pub const TAX: &str = "tax";
/// Owed to customers.
pub const CREDIT: &str = "credit";
/// Debts that nobody will pay.
pub const WRITE_OFF: &str = "write_off";
/// Credit given as a gift.
pub const GOODWILL: &str = "goodwill";

/// The account of money that came through a gateway.
pub fn payments(gateway: &str) -> String {
    format!("payments:{gateway}")
}

/// An entry to be posted.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Billing time.
    pub at: OffsetDateTime,
    /// invoice_issued, payment, refund, credit_given, credit_used, void, write_off, dispute.
    pub kind: &'static str,
    /// Whose money.
    pub customer_id: Uuid,
    /// About which invoice.
    pub invoice_id: Option<Uuid>,
    /// About which payment.
    pub payment_id: Option<Uuid>,
    /// The same fact is booked once.
    pub key: String,
    /// A safe text.
    pub memo: String,
    lines: Vec<(String, Money)>,
}

impl Entry {
    /// Without lines yet.
    pub fn new(kind: &'static str, key: impl Into<String>, customer_id: Uuid, at: OffsetDateTime) -> Self {
        Self {
            at,
            kind,
            customer_id,
            invoice_id: None,
            payment_id: None,
            key: key.into(),
            memo: String::new(),
            lines: vec![],
        }
    }

    /// About an invoice.
    pub fn of_invoice(mut self, invoice: Uuid) -> Self {
        self.invoice_id = Some(invoice);
        self
    }

    /// About a payment.
    pub fn of_payment(mut self, payment: Uuid) -> Self {
        self.payment_id = Some(payment);
        self
    }

    /// `amount` goes from the account `from` (credit) to the account `to` (debit). A pair is balanced by
    /// itself; nothing is left out.
    pub fn transfer(
        mut self,
        from: impl Into<String>,
        to: impl Into<String>,
        amount: Money,
    ) -> Result<Self, MoneyError> {
        if amount.minor() != 0 {
            self.lines.push((to.into(), amount));
            self.lines.push((from.into(), amount.checked_neg()?));
        }
        Ok(self)
    }

    /// Account and amount (debit positive).
    pub fn lines(&self) -> &[(String, Money)] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;
    use time::macros::datetime;

    #[test]
    fn an_entry_is_balanced_by_construction_and_nothing_is_no_line() {
        let usd = |minor| Money::new(minor, Currency::USD);
        let at = datetime!(2028-01-01 0:00 UTC);
        let entry = Entry::new("invoice_issued", "k", Uuid::nil(), at)
            .transfer(REVENUE, RECEIVABLE, usd(900))
            .unwrap()
            .transfer(TAX, RECEIVABLE, usd(0))
            .unwrap();
        assert_eq!(entry.lines().len(), 2);
        assert_eq!(entry.lines().iter().map(|(_, amount)| amount.minor()).sum::<i64>(), 0);
    }
}
