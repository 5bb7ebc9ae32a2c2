//! Money: whole minor units with their currency. There are no fractions of a minor unit and no floats
//! (BIL-06).

use std::fmt;
use std::str::FromStr;

/// ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// Text that names no currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a currency code of ISO 4217")]
pub struct BadCurrency(String);

impl Currency {
    /// United States dollar, the currency of the shipped catalogue.
    pub const USD: Self = Self(*b"USD");

    /// Decimal digits of its minor unit.
    pub fn digits(self) -> u32 {
        contracts::scalars::minor_digits(self.as_str())
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        // Three ASCII capitals by construction.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = BadCurrency;
    fn from_str(code: &str) -> Result<Self, BadCurrency> {
        match code.as_bytes() {
            &[a, b, c] if contracts::scalars::currency_digits(code).is_some() => Ok(Self([a, b, c])),
            _ => Err(BadCurrency(code.to_owned())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// A calculation that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Two currencies in one sum.
    #[error("{0} and {1} cannot be added")]
    Currencies(Currency, Currency),
    /// Larger than any amount that we hold.
    #[error("the amount is too large")]
    Overflow,
    /// A share of nothing.
    #[error("there is nothing to share by")]
    NoWeight,
}

impl Money {
    /// An amount in minor units.
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// `9`, `9.5` or `9.00` in the currency's own digits; nothing else is an amount, and fractions of a minor
    /// unit are none.
    pub fn parse(text: &str, currency: Currency) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 15 || part.len() > 15 {
            return None;
        }
        let places = usize::try_from(currency.digits()).ok()?;
        let (kept, rest) = part.split_at(places.min(part.len()));
        if rest.bytes().any(|byte| byte != b'0') {
            return None;
        }
        let minor = format!("{whole}{kept:0<places$}").parse().ok()?;
        Some(Self { minor, currency })
    }

    /// The amount alone, such as `9.00`.
    pub fn decimal(self) -> String {
        let text = self.to_string();
        text.split_once(' ').map_or(text.as_str(), |(_, amount)| amount).to_owned()
    }

    /// Minor units.
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// Its currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// Sum of two amounts of one currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Currencies(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency: self.currency })
    }

    /// The same amount owed the other way.
    pub fn checked_neg(self) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_neg().ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, currency: self.currency })
    }

    /// Sum of many; zero of `currency` for none.
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::checked_add)
    }

    /// `numerator`/`denominator` of the amount, rounded: proration, tax, discounts.
    pub fn fraction(self, numerator: i64, denominator: i64) -> Result<Self, MoneyError> {
        if denominator == 0 {
            return Err(MoneyError::NoWeight);
        }
        let product = i128::from(self.minor) * i128::from(numerator);
        let minor = i64::try_from(round_half_up(product, i128::from(denominator)))
            .map_err(|_| MoneyError::Overflow)?;
        Ok(Self { minor, currency: self.currency })
    }

    /// Shares in proportion to `weights`; their sum is always the whole.
    pub fn allocate(self, weights: &[u32]) -> Result<Vec<Self>, MoneyError> {
        let total: i64 = weights.iter().map(|weight| i64::from(*weight)).sum();
        if total == 0 {
            return Err(MoneyError::NoWeight);
        }
        let mut before = Self::zero(self.currency);
        let mut weight_before = 0_i64;
        let mut shares = Vec::with_capacity(weights.len());
        for weight in weights {
            weight_before += i64::from(*weight);
            // Rounding the running total, not each share, leaves no remainder at the end.
            let until_here = self.fraction(weight_before, total)?;
            shares.push(until_here.checked_add(before.checked_neg()?)?);
            before = until_here;
        }
        Ok(shares)
    }
}

/// The one rounding rule: to the nearest, halves away from zero. `denominator` must not be zero.
fn round_half_up(numerator: i128, denominator: i128) -> i128 {
    let (numerator, denominator) =
        if denominator < 0 { (-numerator, -denominator) } else { (numerator, denominator) };
    let half = denominator / 2;
    let shifted = if numerator >= 0 { numerator + half } else { numerator - half };
    // An odd denominator has no exact half, an even one rounds it away from zero.
    shifted / denominator
}

impl fmt::Display for Money {
    /// `USD 9.00`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&contracts::scalars::money_text(self.minor, self.currency.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(minor: i64) -> Money {
        Money::new(minor, Currency::USD)
    }

    /// BIL-06
    #[test]
    fn amounts_print_with_the_digits_of_their_currency() {
        assert_eq!(usd(900).to_string(), "USD 9.00");
        assert_eq!(usd(-5).to_string(), "USD -0.05");
        assert_eq!(Money::new(900, "JPY".parse().unwrap()).to_string(), "JPY 900");
        assert_eq!(Money::new(1234, "KWD".parse().unwrap()).to_string(), "KWD 1.234");
        assert!("usd".parse::<Currency>().is_err());
        for unknown in ["USDX", "ZZZ", "XAU"] {
            assert!(unknown.parse::<Currency>().is_err(), "{unknown}");
        }
        assert_eq!(Money::new(900, "ISK".parse().unwrap()).to_string(), "ISK 900");
    }

    /// BIL-06, BIL-27: amounts of other systems are read to the cent or not at all.
    #[test]
    fn decimal_text_is_read_to_the_minor_unit_or_refused() {
        for (text, minor) in [
            ("9.00", 900),
            ("9", 900),
            ("9.5", 950),
            ("0.01", 1),
            ("1234567.89", 123_456_789),
            ("9.000", 900),
        ] {
            assert_eq!(Money::parse(text, Currency::USD), Some(usd(minor)), "{text}");
        }
        for bad in [
            "",
            ".",
            "9.",
            ".5",
            "9.001",
            "-9.00",
            "+9",
            "9,00",
            "1e3",
            "1,000.00",
            " 9",
            "9.0.0",
            "USD 9",
            "9999999999999999",
        ] {
            assert_eq!(Money::parse(bad, Currency::USD), None, "{bad}");
        }
        let yen: Currency = "JPY".parse().unwrap();
        assert_eq!(Money::parse("900", yen), Some(Money::new(900, yen)));
        assert_eq!(Money::parse("900.5", yen), None);
        assert_eq!((usd(905).decimal().as_str(), Money::new(900, yen).decimal().as_str()), ("9.05", "900"));
    }

    /// BIL-06: one rounding rule.
    #[test]
    fn halves_round_away_from_zero() {
        let cases =
            [(1, 2, 1), (-1, 2, -1), (1, 3, 0), (2, 3, 1), (-2, 3, -1), (3, 2, 2), (5, -2, -3), (0, 7, 0)];
        for (numerator, denominator, rounded) in cases {
            assert_eq!(round_half_up(numerator, denominator), rounded, "{numerator}/{denominator}");
        }
    }

    #[test]
    fn currencies_do_not_mix_and_sums_do_not_wrap() {
        let eur = Money::new(1, "EUR".parse().unwrap());
        assert_eq!(usd(1).checked_add(eur), Err(MoneyError::Currencies(Currency::USD, eur.currency())));
        assert_eq!(usd(i64::MAX).checked_add(usd(1)), Err(MoneyError::Overflow));
        assert_eq!(usd(5).allocate(&[]), Err(MoneyError::NoWeight));
        assert_eq!(usd(5).fraction(1, 0), Err(MoneyError::NoWeight));
    }

    proptest! {
        /// BIL-06: sum(lines) = total, whatever the weights.
        #[test]
        fn shares_sum_up_to_the_whole(
            minor in -1_000_000_000_000_i64..1_000_000_000_000,
            weights in proptest::collection::vec(0_u32..100_000, 1..30),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let shares = usd(minor).allocate(&weights).unwrap();
            prop_assert_eq!(Money::sum(Currency::USD, shares.iter().copied()).unwrap(), usd(minor));
            for (share, weight) in shares.iter().zip(&weights) {
                // No share strays from its exact value by a whole minor unit.
                let total: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
                let exact_times_total = i128::from(minor) * i128::from(*weight);
                prop_assert!((i128::from(share.minor()) * total - exact_times_total).abs() <= total);
            }
        }

        /// BIL-06: a part and its rest are the whole, up to the one rounding of a half.
        #[test]
        fn a_part_and_its_rest_are_the_whole(minor in -10_i64.pow(15)..10_i64.pow(15), part in 0_i64..1000, rest in 0_i64..1000) {
            prop_assume!(part + rest > 0);
            let first = usd(minor).fraction(part, part + rest).unwrap();
            let second = usd(minor).fraction(rest, part + rest).unwrap();
            let both = first.checked_add(second).unwrap();
            prop_assert!((both.minor() - minor).abs() <= 1);
        }

        /// BIL-06: rounding is symmetric: a credit is exactly the charge that it takes back.
        #[test]
        fn a_credit_mirrors_its_charge(minor in -10_i64.pow(15)..10_i64.pow(15), part in 0_i64..1000, whole in 1_i64..1000) {
            let charge = usd(minor).fraction(part, whole).unwrap();
            let credit = usd(-minor).fraction(part, whole).unwrap();
            prop_assert_eq!(charge.checked_add(credit).unwrap(), usd(0));
        }
    }
}
