//! Coupons: who may use one, and what it takes off (BIL-36).

use time::OffsetDateTime;

use super::money::{Currency, Money, MoneyError};

/// Hundredths of a percent that are all of it.
pub const WHOLE_BP: u16 = 10_000;

/// What it takes off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discount {
    /// Hundredths of a percent.
    Percent(u16),
    /// So much, and never more than there is.
    Amount(Money),
}

/// A coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// As the customer types it, in capitals.
    pub code: String,
    /// What it takes off.
    pub discount: Discount,
    /// Off how many invoices of a subscription; none: off all.
    pub invoices: Option<u32>,
    /// How often it may be used; none: without limit.
    pub max_uses: Option<u32>,
    /// How often it was.
    pub uses: u32,
    /// It can be used.
    pub active: bool,
    /// From then on.
    pub starts_at: Option<OffsetDateTime>,
    /// Until then. What it was used for before goes on.
    pub expires_at: Option<OffsetDateTime>,
    /// A customer uses it once.
    pub once_per_customer: bool,
}

impl Coupon {
    /// Why it cannot be used now for a price in `currency`; `None`: it can.
    pub fn refusal(
        &self,
        now: OffsetDateTime,
        currency: Currency,
        used_before: bool,
    ) -> Option<&'static str> {
        if !self.active || self.starts_at.is_some_and(|start| now < start) {
            // Whether it exists at all is nobody's business.
            return Some("is no valid coupon");
        }
        if self.expires_at.is_some_and(|end| now >= end) {
            return Some("has expired");
        }
        if self.max_uses.is_some_and(|most| self.uses >= most) {
            return Some("was used up");
        }
        if self.once_per_customer && used_before {
            return Some("was used before");
        }
        if let Discount::Amount(amount) = self.discount
            && amount.currency() != currency
        {
            return Some("is for another currency");
        }
        None
    }

    /// Does it take something off the next invoice of a subscription that had it on `before` invoices?
    pub fn applies(&self, before: u32) -> bool {
        self.invoices.is_none_or(|most| before < most)
    }

    /// What it takes off `price`: never below nothing, never more than the price.
    pub fn off(&self, price: Money) -> Result<Money, MoneyError> {
        if price.minor() <= 0 {
            return Ok(Money::zero(price.currency()));
        }
        match self.discount {
            Discount::Percent(bp) => price.fraction(bp.min(WHOLE_BP).into(), WHOLE_BP.into()),
            Discount::Amount(amount) if amount.currency() == price.currency() => {
                Ok(Money::new(amount.minor().clamp(0, price.minor()), price.currency()))
            }
            Discount::Amount(_) => Ok(Money::zero(price.currency())),
        }
    }

    /// What the line says.
    pub fn describe(&self) -> String {
        match self.discount {
            Discount::Percent(bp) => format!("Coupon {} ({} %)", self.code, percent(bp)),
            Discount::Amount(_) => format!("Coupon {}", self.code),
        }
    }
}

/// Hundredths of a percent as people read them: `15`, `7.7`, `0.05`.
pub fn percent(bp: u16) -> String {
    let (whole, part) = (bp / 100, bp % 100);
    match part {
        0 => whole.to_string(),
        tenth if tenth % 10 == 0 => format!("{whole}.{}", tenth / 10),
        _ => format!("{whole}.{part:02}"),
    }
}

/// A code as it is stored.
pub fn normal(code: &str) -> String {
    code.trim().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn coupon(discount: Discount) -> Coupon {
        Coupon {
            code: "SPRING".into(),
            discount,
            invoices: Some(3),
            max_uses: Some(10),
            uses: 0,
            active: true,
            starts_at: Some(datetime!(2028-03-01 0:00 UTC)),
            expires_at: Some(datetime!(2028-04-01 0:00 UTC)),
            once_per_customer: true,
        }
    }

    /// BIL-36: validity, limits, once for each customer.
    #[test]
    fn a_coupon_says_why_it_cannot_be_used() {
        let usd = |minor| Money::new(minor, Currency::USD);
        let good = coupon(Discount::Amount(usd(500)));
        let day = datetime!(2028-03-15 0:00 UTC);
        let refusal = |coupon: &Coupon, now, before| coupon.refusal(now, Currency::USD, before);
        assert_eq!(refusal(&good, day, false), None);
        assert_eq!(refusal(&good, datetime!(2028-02-29 23:59 UTC), false), Some("is no valid coupon"));
        assert_eq!(refusal(&good, datetime!(2028-04-01 0:00 UTC), false), Some("has expired"));
        assert_eq!(refusal(&good, day, true), Some("was used before"));
        assert_eq!(refusal(&Coupon { once_per_customer: false, ..good.clone() }, day, true), None);
        assert_eq!(refusal(&Coupon { uses: 10, ..good.clone() }, day, false), Some("was used up"));
        assert_eq!(
            refusal(&Coupon { active: false, ..good.clone() }, day, false),
            Some("is no valid coupon")
        );
        let eur = "EUR".parse().unwrap();
        assert_eq!(good.refusal(day, eur, false), Some("is for another currency"));
        assert!(good.applies(2) && !good.applies(3) && Coupon { invoices: None, ..good }.applies(1000));
        assert_eq!([1500, 770, 5].map(percent), ["15", "7.7", "0.05"]);
    }

    proptest! {
        /// BIL-36: a discount is never negative and never more than the price, and the whole is the whole.
        #[test]
        fn a_discount_stays_between_nothing_and_the_price(price in -1_000_000_i64..1_000_000_000, bp in 0_u16..=WHOLE_BP, amount in -10_i64..2_000_000_000) {
            let price = Money::new(price, Currency::USD);
            for discount in [Discount::Percent(bp), Discount::Amount(Money::new(amount, Currency::USD))] {
                let off = coupon(discount).off(price).unwrap();
                prop_assert!(off.minor() >= 0 && off.minor() <= price.minor().max(0), "{off} of {price}");
            }
            let all = coupon(Discount::Percent(WHOLE_BP)).off(price).unwrap();
            prop_assert_eq!(all.minor(), price.minor().max(0));
        }

        /// BIL-36: more percent are never less money.
        #[test]
        fn a_larger_percentage_takes_no_less_off(price in 0_i64..1_000_000_000, bp in 0_u16..WHOLE_BP) {
            let off = |bp| coupon(Discount::Percent(bp)).off(Money::new(price, Currency::USD)).unwrap().minor();
            prop_assert!(off(bp) <= off(bp + 1));
        }
    }
}
