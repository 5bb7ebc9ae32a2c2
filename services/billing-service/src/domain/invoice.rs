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
    /// What an open invoice is. Stored with the document: whether something is owed is decided once, when it is issued.
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

/// Lines of a credit note: takes back `amount` of an invoice that asked for `total`, `tax` of it for the state, with the tax in its share.
pub fn credit_lines(number: &str, amount: Money, tax: Money, total: Money) -> Result<Vec<Line>, MoneyError> {
    let tax = tax.fraction(amount.minor(), total.minor())?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
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
