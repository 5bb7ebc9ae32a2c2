//! Invoices: what they say, and what their lines sum up to (BIL-06, BIL-17, BIL-18).

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use uuid::Uuid;

use super::money::{Currency, Money, MoneyError};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $unknown:ident, { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The word in SQL and answers.
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $word),+ } }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.as_str()) }
        }

        /// A word that nobody knows.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[error("unknown word {0:?}")]
        pub struct $unknown(String);

        impl FromStr for $name {
            type Err = $unknown;
            fn from_str(word: &str) -> Result<Self, $unknown> {
                Self::ALL.iter().copied().find(|known| known.as_str() == word).ok_or_else(|| $unknown(word.into()))
            }
        }
    };
}
pub(crate) use words;

words! {
    /// State of an invoice; how much is paid is another question.
    InvoiceStatus, UnknownInvoiceStatus, {
        /// Being written.
        Draft = "draft",
        /// Issued, not all paid.
        Open = "open",
        /// Nothing is left to pay.
        Paid = "paid",
        /// Taken back.
        Void = "void",
        /// Nobody will pay it.
        WrittenOff = "written_off",
    }
}

words! {
    /// Why an invoice exists.
    InvoiceKind, UnknownInvoiceKind, {
        /// Of an order.
        First = "first",
        /// Of a period.
        Recurring = "recurring",
        /// Of an upgrade.
        Upgrade = "upgrade",
        /// By hand.
        Manual = "manual",
        /// Takes an issued one back, whole or in part.
        CreditNote = "credit_note",
    }
}

words! {
    /// What an open invoice is. Stored with the document: whether something is owed is decided once, when it
    /// is issued.
    Claim, UnknownClaim, {
        /// Owed: it moves the ladder and blocks changes of the plan.
        Debt = "debt",
        /// Owed by nobody until it is paid: an upgrade that waits, or an order before its first payment.
        Offer = "offer",
    }
}

words! {
    /// Kind of a line.
    LineKind, UnknownLineKind, {
        /// A period of a plan.
        Plan = "plan",
        /// A part of a period.
        Proration = "proration",
        /// A coupon.
        Discount = "discount",
        /// Corrected.
        Credit = "credit",
        /// Tax on all lines above.
        Tax = "tax",
        /// By hand.
        Manual = "manual",
    }
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is for.
    pub kind: LineKind,
    /// For people.
    pub description: String,
    /// How many.
    pub quantity: i32,
    /// Price of one.
    pub unit: Money,
    /// Price of all.
    pub amount: Money,
    /// From, until.
    pub period: Option<(OffsetDateTime, OffsetDateTime)>,
}

impl Line {
    /// One of something.
    pub fn one(
        kind: LineKind,
        description: impl Into<String>,
        amount: Money,
        period: Option<(OffsetDateTime, OffsetDateTime)>,
    ) -> Self {
        Self { kind, description: description.into(), quantity: 1, unit: amount, amount, period }
    }
}

/// Sums of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Without tax.
    pub subtotal: Money,
    /// Tax.
    pub tax: Money,
    /// Both.
    pub total: Money,
}

/// Sums of lines: the total is always the sum of the lines.
pub fn totals(currency: Currency, lines: &[Line]) -> Result<Totals, MoneyError> {
    let of = |tax: bool| {
        Money::sum(
            currency,
            lines.iter().filter(|line| (line.kind == LineKind::Tax) == tax).map(|line| line.amount),
        )
    };
    let (subtotal, tax) = (of(false)?, of(true)?);
    Ok(Totals { subtotal, tax, total: subtotal.checked_add(tax)? })
}

/// Lines of a credit note: takes back `amount` of an invoice of these sums, of which earlier notes took
/// `noted` already. The tax of all notes together is the share that they have of the invoice, rounded once,
/// so that whatever the parts, all of it is exactly net and tax.
pub fn credit_lines(
    number: &str,
    amount: Money,
    invoice: Totals,
    noted: Totals,
) -> Result<Vec<Line>, MoneyError> {
    let until_here = noted.total.checked_add(amount)?;
    let tax = invoice.tax.fraction(until_here.minor(), invoice.total.minor())?;
    let tax = tax.checked_add(noted.tax.checked_neg()?)?;
    let net = amount.checked_add(tax.checked_neg()?)?;
    let text = format!("Credit for invoice {number}");
    let mut lines = vec![Line::one(LineKind::Credit, text, net.checked_neg()?, None)];
    if tax.minor() != 0 {
        lines.push(Line::one(LineKind::Tax, "Tax", tax.checked_neg()?, None));
    }
    Ok(lines)
}

/// An invoice to be issued.
#[derive(Debug, Clone)]
pub struct NewInvoice {
    /// Whose.
    pub customer_id: Uuid,
    /// For which subscription.
    pub subscription_id: Option<Uuid>,
    /// Why.
    pub kind: InvoiceKind,
    /// Owed, or offered.
    pub claim: Claim,
    /// The same document is issued once.
    pub key: String,
    /// Of all lines.
    pub currency: Currency,
    /// Its lines, tax included.
    pub lines: Vec<Line>,
    /// Tax note.
    pub note: String,
    /// The invoice that a credit note corrects.
    pub corrects_id: Option<Uuid>,
    /// Now.
    pub issued_at: OffsetDateTime,
    /// When it is due.
    pub due_at: OffsetDateTime,
}

/// An invoice as it stands, without its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Row.
    pub id: Uuid,
    /// As printed; empty for a draft.
    pub number: String,
    /// Whose.
    pub customer_id: Uuid,
    /// For which subscription.
    pub subscription_id: Option<Uuid>,
    /// Why.
    pub kind: InvoiceKind,
    /// Where it stands.
    pub status: InvoiceStatus,
    /// Without tax.
    pub subtotal: Money,
    /// Tax.
    pub tax: Money,
    /// Both.
    pub total: Money,
    /// What is left to pay.
    pub balance: Money,
    /// Buyer as it was then.
    pub buyer: serde_json::Value,
    /// Tax note.
    pub note: String,
    /// The invoice that it corrects.
    pub corrects_id: Option<Uuid>,
    /// When it was issued.
    pub issued_at: Option<OffsetDateTime>,
    /// When it is due.
    pub due_at: Option<OffsetDateTime>,
    /// When it was paid.
    pub paid_at: Option<OffsetDateTime>,
    /// Who keeps it.
    pub provider: String,
    /// The keeper's own id.
    pub provider_id: String,
}

impl Invoice {
    /// Its sums.
    pub fn sums(&self) -> Totals {
        Totals { subtotal: self.subtotal, tax: self.tax, total: self.total }
    }

    /// Its currency.
    pub fn currency(&self) -> Currency {
        self.total.currency()
    }
}

/// What a list shows.
#[derive(Debug, Clone, Default)]
pub struct InvoiceFilter {
    /// Only of this customer.
    pub customer_id: Option<Uuid>,
    /// Only of this subscription.
    pub subscription_id: Option<Uuid>,
    /// Only in this state.
    pub status: Option<String>,
    /// Only due before then, and open.
    pub overdue_at: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// BIL-29, BIL-36: whatever the parts, all notes together take back the invoice's net and its tax,
        /// and no note more than its amount.
        #[test]
        fn notes_take_back_net_and_tax(net in 1_i64..1_000_000, rate in 0_i64..=10_000, parts in proptest::collection::vec(1_i64..5_000, 1..400)) {
            let usd = |minor| Money::new(minor, Currency::USD);
            let tax = usd(net).fraction(rate, 10_000).unwrap();
            let invoice = Totals { subtotal: usd(net), tax, total: usd(net + tax.minor()) };
            let mut noted = Totals { subtotal: usd(0), tax: usd(0), total: usd(0) };
            let mut left = invoice.total.minor();
            for part in parts.into_iter().chain([i64::MAX]) {
                let part = part.min(left);
                if part == 0 {
                    break;
                }
                let lines = credit_lines("INV-1", usd(part), invoice, noted).unwrap();
                let sums = totals(Currency::USD, &lines).unwrap();
                prop_assert_eq!(sums.total.minor(), -part);
                prop_assert!((-part..=0).contains(&sums.tax.minor()));
                noted.tax = usd(noted.tax.minor() - sums.tax.minor());
                noted.subtotal = usd(noted.subtotal.minor() - sums.subtotal.minor());
                noted.total = usd(noted.total.minor() + part);
                left -= part;
            }
            prop_assert_eq!((noted.subtotal, noted.tax), (invoice.subtotal, invoice.tax));
        }

        /// BIL-06: sum(lines) = total.
        #[test]
        fn the_total_is_the_sum_of_the_lines(amounts in proptest::collection::vec((-1_000_000_i64..1_000_000, any::<bool>()), 0..20)) {
            let lines: Vec<Line> = amounts.iter().map(|(minor, tax)| {
                let kind = if *tax { LineKind::Tax } else { LineKind::Plan };
                Line::one(kind, "x", Money::new(*minor, Currency::USD), None)
            }).collect();
            let totals = totals(Currency::USD, &lines).unwrap();
            prop_assert_eq!(totals.total.minor(), amounts.iter().map(|(minor, _)| minor).sum::<i64>());
            prop_assert_eq!(totals.subtotal.checked_add(totals.tax).unwrap(), totals.total);
        }
    }
}
