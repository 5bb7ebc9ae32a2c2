//! What a change in the middle of a period costs (BIL-21).

use time::OffsetDateTime;

use super::money::{Money, MoneyError};

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
