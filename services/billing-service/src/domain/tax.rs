//! Tax in a first form: one rate for each country, and reverse charge for buyers with a tax id (BIL-36).

use time::{Date, OffsetDateTime, UtcOffset};

use super::coupon::{WHOLE_BP, percent};
use super::invoice::{Line, LineKind};
use super::money::{Money, MoneyError};

/// The day of a moment; rates change at midnight UTC.
pub fn day(now: OffsetDateTime) -> Date {
    now.to_offset(UtcOffset::UTC).date()
}

/// The rate of a country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxRule {
    /// Such as VAT.
    pub name: String,
    /// Hundredths of a percent.
    pub rate_bp: u16,
    /// A buyer with a tax id owes the tax itself.
    pub reverse_charge: bool,
}

impl TaxRule {
    /// Can it stand on an invoice? A field and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !(1..=40).contains(&self.name.chars().count()) {
            return Err(("name", "must have 1 to 40 characters"));
        }
        if self.rate_bp > WHOLE_BP {
            return Err(("rate_bp", "must be at most 10000"));
        }
        Ok(())
    }
}

/// What stands on invoices whose buyer owes the tax.
pub const REVERSE_CHARGE: &str = "Reverse charge: the recipient of the service is liable for the tax. \
    The recipient's tax number was not verified with a register.";

/// Tax on a subtotal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taxed {
    /// The line; none: no tax is charged.
    pub line: Option<Line>,
    /// What the invoice must say.
    pub note: &'static str,
}

/// The tax of `subtotal`, rounded once; the subtotal of a change of the plan may be negative, and its tax
/// then goes back too.
pub fn tax(rule: Option<&TaxRule>, subtotal: Money, has_tax_id: bool) -> Result<Taxed, MoneyError> {
    let Some(rule) = rule else { return Ok(Taxed { line: None, note: "" }) };
    if rule.reverse_charge && has_tax_id {
        return Ok(Taxed { line: None, note: REVERSE_CHARGE });
    }
    let amount = subtotal.fraction(rule.rate_bp.into(), WHOLE_BP.into())?;
    let text = format!("{} {} %", rule.name, percent(rule.rate_bp));
    Ok(Taxed { line: Some(Line::one(LineKind::Tax, text, amount, None)), note: "" })
}

/// A rate and its days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxRate {
    /// Two capitals.
    pub country: String,
    /// What is charged.
    pub rule: TaxRule,
    /// First day.
    pub valid_from: Date,
    /// First day without it.
    pub valid_until: Option<Date>,
}

/// Which ones.
#[derive(Debug, Clone, Default)]
pub struct TaxRateFilter {
    /// Of a country.
    pub country: Option<String>,
    /// In force on a day.
    pub on: Option<Date>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;
    use proptest::prelude::*;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    /// BIL-36
    #[test]
    fn a_buyer_with_a_tax_id_owes_the_tax_itself_where_the_country_has_it_so() {
        let vat = TaxRule { name: "VAT".into(), rate_bp: 1_900, reverse_charge: true };
        let charged = tax(Some(&vat), usd(900), false).unwrap();
        let line = charged.line.unwrap();
        assert_eq!((line.description.as_str(), line.amount, charged.note), ("VAT 19 %", usd(171), ""));
        assert_eq!(tax(Some(&vat), usd(900), true).unwrap(), Taxed { line: None, note: REVERSE_CHARGE });
        let here = TaxRule { reverse_charge: false, ..vat };
        assert!(tax(Some(&here), usd(900), true).unwrap().line.is_some());
        assert_eq!(tax(None, usd(900), false).unwrap(), Taxed { line: None, note: "" });
    }

    proptest! {
        /// BIL-36, BIL-06: rounded to the nearest unit, once; what goes back is exactly what was charged.
        #[test]
        fn tax_is_the_nearest_unit_and_mirrors_itself(subtotal in -1_000_000_000_i64..1_000_000_000, rate_bp in 0_u16..=WHOLE_BP) {
            let rule = TaxRule { name: "VAT".into(), rate_bp, reverse_charge: false };
            let of = |minor| tax(Some(&rule), usd(minor), false).unwrap().line.unwrap().amount.minor();
            let exact = subtotal * i64::from(rate_bp);
            prop_assert!((of(subtotal) * 10_000 - exact).abs() <= 5_000);
            prop_assert_eq!(of(-subtotal), -of(subtotal));
        }
    }
}
