//! Coupons: who may use one, and what it takes off (BIL-36).

use time::OffsetDateTime;
use uuid::Uuid;

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

/// What an admin may change of a coupon; `None`: as it is. What it takes off is none of it: invoices were
/// issued with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// It can be used.
    pub active: Option<bool>,
    /// How often; inner `None`: without limit.
    pub max_uses: Option<Option<u32>>,
    /// Until then; inner `None`: for ever.
    pub expires_at: Option<Option<OffsetDateTime>>,
}

impl Coupon {
    /// Can it be made? A field and what it must be.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let sign =
            |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        if !(3..=40).contains(&self.code.len()) || !self.code.bytes().all(sign) {
            return Err(("code", "must have 3 to 40 of A to Z, 0 to 9, _ and -"));
        }
        match self.discount {
            Discount::Percent(bp) if !(1..=WHOLE_BP).contains(&bp) => {
                return Err(("percent_bp", "must be from 1 to 10000"));
            }
            Discount::Amount(amount) if amount.minor() <= 0 => return Err(("amount", "must be positive")),
            Discount::Percent(_) | Discount::Amount(_) => {}
        }
        if self.starts_at.zip(self.expires_at).is_some_and(|(start, end)| end <= start) {
            return Err(("expires_at", "must be after starts_at"));
        }
        Ok(())
    }

    /// The same with other limits. An end in the past would say that it was not used when it was.
    pub fn limited(
        &self,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<Self, (&'static str, &'static str)> {
        let changed = Self {
            active: limits.active.unwrap_or(self.active),
            max_uses: limits.max_uses.unwrap_or(self.max_uses),
            expires_at: limits.expires_at.unwrap_or(self.expires_at),
            ..self.clone()
        };
        if changed.expires_at != self.expires_at && changed.expires_at.is_some_and(|end| end < now) {
            return Err(("expires_at", "must not be past"));
        }
        changed.check()?;
        Ok(changed)
    }

    /// Why it cannot be used now for a price in `currency`; `None`: it can.
    pub fn refusal(
        &self,
        now: OffsetDateTime,
        currency: Currency,
        used_before: bool,
    ) -> Option<&'static str> {
        if !self.active || self.starts_at.is_some_and(|start| now < start) {
            // Whether it exists at all is nobody's business.
            return Some("is not a valid coupon");
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

/// A coupon and when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCoupon {
    /// The coupon.
    pub coupon: Coupon,
    /// Since then.
    pub created_at: OffsetDateTime,
}

/// A use of a coupon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CouponUse {
    /// For which subscription; an order that came to nothing has given its use back.
    pub subscription_id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// On how many invoices it was.
    pub invoices: i32,
    /// When it was ordered with it.
    pub redeemed_at: OffsetDateTime,
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
        assert_eq!(refusal(&good, datetime!(2028-02-29 23:59 UTC), false), Some("is not a valid coupon"));
        assert_eq!(refusal(&good, datetime!(2028-04-01 0:00 UTC), false), Some("has expired"));
        assert_eq!(refusal(&good, day, true), Some("was used before"));
        assert_eq!(refusal(&Coupon { once_per_customer: false, ..good.clone() }, day, true), None);
        assert_eq!(refusal(&Coupon { uses: 10, ..good.clone() }, day, false), Some("was used up"));
        assert_eq!(
            refusal(&Coupon { active: false, ..good.clone() }, day, false),
            Some("is not a valid coupon")
        );
        let eur = "EUR".parse().unwrap();
        assert_eq!(good.refusal(day, eur, false), Some("is for another currency"));
        assert!(good.applies(2) && !good.applies(3) && Coupon { invoices: None, ..good }.applies(1000));
        assert_eq!([1500, 770, 5].map(percent), ["15", "7.7", "0.05"]);
    }

    /// BIL-36
    #[test]
    fn limits_change_and_what_it_takes_off_does_not() {
        let now = datetime!(2028-03-15 0:00 UTC);
        let good = coupon(Discount::Percent(2_500));
        let off = good.limited(&Limits { active: Some(false), ..Limits::default() }, now).unwrap();
        assert_eq!(off, Coupon { active: false, ..good.clone() });
        let open = Limits { max_uses: Some(None), expires_at: Some(None), ..Limits::default() };
        let open = good.limited(&open, now).unwrap();
        assert_eq!((open.max_uses, open.expires_at, open.discount), (None, None, good.discount));
        for end in [datetime!(2028-03-14 0:00 UTC), datetime!(2028-02-01 0:00 UTC)] {
            let past = Limits { expires_at: Some(Some(end)), ..Limits::default() };
            assert_eq!(good.limited(&past, now).unwrap_err().0, "expires_at");
        }
        // An end that is past already does not keep one from being switched off.
        let late = datetime!(2029-01-01 0:00 UTC);
        assert!(good.limited(&Limits { active: Some(false), ..Limits::default() }, late).is_ok());
    }

    /// BIL-36
    #[test]
    fn a_coupon_that_makes_no_sense_is_not_made() {
        let good = coupon(Discount::Percent(2_500));
        assert_eq!(good.check(), Ok(()));
        let field = |coupon: Coupon| coupon.check().unwrap_err().0;
        for code in ["AB", "spring", "A B C", &"X".repeat(41), "SPRÜNG"] {
            assert_eq!(field(Coupon { code: code.into(), ..good.clone() }), "code", "{code}");
        }
        for bp in [0, 10_001] {
            assert_eq!(field(Coupon { discount: Discount::Percent(bp), ..good.clone() }), "percent_bp");
        }
        let nothing = Discount::Amount(Money::zero(Currency::USD));
        assert_eq!(field(Coupon { discount: nothing, ..good.clone() }), "amount");
        assert_eq!(field(Coupon { expires_at: good.starts_at, ..good }), "expires_at");
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
