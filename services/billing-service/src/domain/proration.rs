//! What a change in the middle of a period costs (BIL-21).

use time::OffsetDateTime;

use super::invoice::{InvoiceKind, InvoiceStatus};
use super::money::{Money, MoneyError};

/// The invoice that charged a period, as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// Of a period, or of an upgrade in it.
    pub kind: InvoiceKind,
    /// Where it stands.
    pub status: InvoiceStatus,
    /// Asked for, without tax.
    pub subtotal: Money,
    /// With tax.
    pub total: Money,
    /// Refunded, credited or written off of the total.
    pub taken_back: Money,
}

/// What a whole period of a plan of this `price` cost in the end, without tax. A coupon made it cheaper, and what was taken back is not given back
/// once more (BIL-21, BIL-36). The invoice of an upgrade is the price less what was left of the plan before: its period is worth the price.
pub fn worth(price: Money, charge: &Charge) -> Result<Money, MoneyError> {
    let nothing = Money::zero(price.currency());
    if charge.status == InvoiceStatus::Void {
        return Ok(nothing);
    }
    let asked = if charge.kind == InvoiceKind::Upgrade { price } else { charge.subtotal };
    let taken_back = if charge.total.minor() > 0 {
        charge.subtotal.fraction(charge.taken_back.minor(), charge.total.minor())?
    } else {
        nothing
    };
    let kept = asked.checked_add(taken_back.checked_neg()?)?;
    Ok(if kept.minor() < 0 { nothing } else { kept })
}

/// The unused share of `price` from `at` until the period's end, by seconds, rounded once.
pub fn unused(
    price: Money,
    start: OffsetDateTime,
    end: OffsetDateTime,
    at: OffsetDateTime,
) -> Result<Money, MoneyError> {
    let whole = (end - start).whole_seconds();
    if whole <= 0 {
        return Ok(Money::zero(price.currency()));
    }
    let left = (end - at.clamp(start, end)).whole_seconds();
    price.fraction(left, whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::datetime;

    const START: OffsetDateTime = datetime!(2028-01-31 10:00 UTC);

    #[test]
    fn half_a_period_is_half_the_price_and_outside_of_it_all_or_nothing() {
        let (price, end) = (Money::new(901, Currency::USD), START + Duration::days(30));
        let at = |days| unused(price, START, end, START + Duration::days(days)).unwrap().minor();
        assert_eq!((at(15), at(0), at(30)), (451, 901, 0));
        assert_eq!((at(-3), at(90)), (901, 0));
        assert_eq!(unused(price, end, START, START).unwrap().minor(), 0);
    }

    #[test]
    fn a_period_is_worth_what_was_asked_and_kept() {
        use {InvoiceKind as K, InvoiceStatus as S};
        let usd = |minor| Money::new(minor, Currency::USD);
        let worth = |kind, status, total, taken_back| {
            // A tenth of the total is tax.
            let charge = Charge {
                kind,
                status,
                subtotal: usd(total - total / 10),
                total: usd(total),
                taken_back: usd(taken_back),
            };
            super::worth(usd(900), &charge).unwrap().minor()
        };
        assert_eq!(worth(K::First, S::Paid, 1000, 0), 900);
        assert_eq!(worth(K::Recurring, S::Paid, 750, 0), 675, "with a coupon");
        assert_eq!(worth(K::First, S::Paid, 0, 0), 0, "a gift");
        assert_eq!(worth(K::Recurring, S::Paid, 1000, 1000), 0, "refunded");
        assert_eq!(worth(K::Recurring, S::WrittenOff, 1000, 400), 540, "the rest was paid");
        assert_eq!(worth(K::Recurring, S::Void, 1000, 0), 0);
        assert_eq!(worth(K::Upgrade, S::Paid, 300, 0), 900);
        assert_eq!(worth(K::Upgrade, S::Paid, 300, 100), 810);
    }

    proptest! {
        /// BIL-06: later is never dearer, and used plus unused is the price up to the one rounding.
        #[test]
        fn the_unused_share_shrinks_with_time(minor in 0_i64..10_000_000, days in 1_i64..400, a in 0_i64..35_000_000, b in 0_i64..35_000_000) {
            let (price, end) = (Money::new(minor, Currency::USD), START + Duration::days(days));
            let share = |seconds: i64| unused(price, START, end, START + Duration::seconds(seconds)).unwrap().minor();
            let (early, late) = (share(a.min(b)), share(a.max(b)));
            prop_assert!(late <= early && early <= minor && late >= 0);
        }
    }
}
