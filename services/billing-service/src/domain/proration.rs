//! What a change in the middle of a period costs (BIL-21).

use time::OffsetDateTime;

use super::invoice::{InvoiceKind, InvoiceStatus};
use super::money::{Money, MoneyError};

/// An invoice that charged a period, or a part of it, as it stands.
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
    /// What we do not have of the total: still open, refunded, credited or written off.
    pub not_kept: Money,
    /// The part of that which went after the last charge was made; of the last charge itself this is not
    /// asked.
    pub lost_since: Money,
    /// When it was issued.
    pub issued_at: OffsetDateTime,
}

impl Charge {
    /// The share of `part` of the total in the subtotal.
    fn net(&self, part: Money) -> Result<Money, MoneyError> {
        if self.status == InvoiceStatus::Void {
            return Ok(self.subtotal);
        }
        if self.total.minor() <= 0 {
            return Ok(Money::zero(self.subtotal.currency()));
        }
        self.subtotal.fraction(part.minor(), self.total.minor())
    }

    /// What we have of the subtotal; of an upgrade to a cheaper rhythm it is what was given back.
    fn kept(&self) -> Result<Money, MoneyError> {
        minus(self.subtotal, self.net(self.not_kept)?)
    }
}

/// What is left at `at` of a period that a plan of this `price` was charged for, without tax, by what charged
/// it, newest first. A coupon made it cheaper, and what was never paid or was taken back is not given back
/// (BIL-21, BIL-36): money paid is time given and what is left. An upgrade's invoice is the price of its time
/// less what was left of the plan before, so its time is worth that price.
pub fn left(
    price: Money,
    (start, end): (OffsetDateTime, OffsetDateTime),
    charges: &[Charge],
    at: OffsetDateTime,
) -> Result<Money, MoneyError> {
    let nothing = Money::zero(price.currency());
    let Some((last, earlier)) = charges.split_first() else { return Ok(nothing) };
    let (mut value, from) = if last.kind == InvoiceKind::Upgrade {
        let from = last.issued_at.clamp(start, end);
        (minus(unused(price, start, end, from)?, last.net(last.not_kept)?)?, from)
    } else {
        (last.kept()?, start)
    };
    let mut paid = last.kept()?;
    for charge in earlier {
        value = minus(value, charge.net(charge.lost_since)?)?;
        paid = paid.checked_add(charge.kept()?)?;
    }
    let value = Money::new(value.minor().min(paid.minor()).max(0), price.currency());
    unused(value, from, end, at)
}

fn minus(from: Money, part: Money) -> Result<Money, MoneyError> {
    from.checked_add(part.checked_neg()?)
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

    fn charge(kind: InvoiceKind, status: InvoiceStatus, total: i64, not_kept: i64) -> Charge {
        let usd = |minor| Money::new(minor, Currency::USD);
        // A tenth of the total is tax.
        Charge {
            kind,
            status,
            subtotal: usd(total - total / 10),
            total: usd(total),
            not_kept: usd(not_kept),
            lost_since: usd(0),
            issued_at: START,
        }
    }

    #[test]
    fn a_period_is_worth_what_was_asked_and_kept() {
        use {InvoiceKind as K, InvoiceStatus as S};
        let end = START + Duration::days(30);
        let left = |charges: &[Charge]| {
            left(Money::new(900, Currency::USD), (START, end), charges, START).unwrap().minor()
        };
        let one = |kind, status, total, not_kept| left(&[charge(kind, status, total, not_kept)]);
        assert_eq!(one(K::First, S::Paid, 1000, 0), 900);
        assert_eq!(one(K::Recurring, S::Paid, 750, 0), 675, "with a coupon");
        assert_eq!(one(K::First, S::Paid, 0, 0), 0, "a gift");
        assert_eq!(one(K::Recurring, S::Paid, 1000, 1000), 0, "refunded");
        assert_eq!(one(K::Recurring, S::WrittenOff, 1000, 400), 540, "the rest was paid");
        assert_eq!(one(K::Recurring, S::Open, 1000, 1000), 0, "nothing was paid");
        assert_eq!(one(K::Recurring, S::Void, 1000, 0), 0);
        assert_eq!(left(&[]), 0);
        let upgraded = |open, refunded| {
            let status = if open > 0 { S::Open } else { S::Paid };
            let first = Charge {
                lost_since: Money::new(refunded, Currency::USD),
                ..charge(K::First, S::Paid, 700, refunded)
            };
            left(&[charge(K::Upgrade, status, 300, open), first])
        };
        assert_eq!(upgraded(0, 0), 900);
        assert_eq!(upgraded(100, 0), 810);
        assert_eq!(upgraded(300, 0), 630, "the plan before was paid");
        assert_eq!(upgraded(300, 700), 0);
        assert_eq!(upgraded(0, 700), 270, "what it took the place of was given back");
    }

    /// BIL-21: half of 900 was used when the plan changed; what was paid for the change counts for the time
    /// from then on.
    #[test]
    fn an_upgrade_in_the_middle_is_worth_its_own_time() {
        use {InvoiceKind as K, InvoiceStatus as S};
        let (end, middle) = (START + Duration::days(30), START + Duration::days(15));
        let usd = |minor| Money::new(minor, Currency::USD);
        let whole = |kind, minor, not_kept| Charge {
            subtotal: usd(minor),
            issued_at: middle,
            ..charge(kind, S::Paid, minor, not_kept)
        };
        let first = whole(K::First, 900, 0);
        let at = |open, day| {
            let charges = [whole(K::Upgrade, 500, open), first];
            left(usd(1900), (START, end), &charges, START + Duration::days(day)).unwrap().minor()
        };
        assert_eq!((at(0, 15), at(500, 15), at(500, 30)), (950, 450, 0));
        assert_eq!(at(0, 24), 380, "two fifths of the half");
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
