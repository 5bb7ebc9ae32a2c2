//! Values as Kill Bill writes them: amounts as literal decimals (`10`, `10.00`, `0E-9` for the same kind of
//! field), times as dates or date-times (the 0.22 and the 0.24 line differ).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use crate::domain::money::{Currency, Money};

const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// A number as it stood in the text; it never becomes a float (BIL-06).
#[derive(Clone, PartialEq, Eq)]
pub struct Decimal(String);

/// Text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no amount of {1}")]
pub struct BadAmount(String, Currency);

impl Decimal {
    /// The literal of an amount.
    pub fn of(money: Money) -> Self {
        let text = money.to_string();
        Self(text.split_once(' ').map_or(text.as_str(), |(_, amount)| amount).to_owned())
    }

    /// In minor units; fractions of a minor unit are refused.
    pub fn money(&self, currency: Currency) -> Result<Money, BadAmount> {
        scaled(&self.0, currency.digits())
            .and_then(|minor| i64::try_from(minor).ok())
            .map(|minor| Money::new(minor, currency))
            .ok_or_else(|| BadAmount(self.0.clone(), currency))
    }
}

/// `[-]digits[.digits][E[±]digits]` times 10^`scale`, when that is a whole number.
fn scaled(text: &str, scale: u32) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, part].concat();
    if whole.is_empty() || digits.len() > 30 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut value: i128 = digits.parse().ok()?;
    let shift = exponent.checked_add(i32::try_from(scale).ok()?)? - i32::try_from(part.len()).ok()?;
    if value == 0 {
        return Some(0);
    }
    for _ in 0..shift.min(40) {
        value = value.checked_mul(10)?;
    }
    for _ in shift..0 {
        if value % 10 != 0 {
            return None;
        }
        value /= 10;
    }
    if shift > 40 {
        return None;
    }
    Some(value * sign)
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        // Checked at the finest scale that we know, so that no word gets any further.
        scaled(text, 12).map(|_| Self(text.to_owned())).ok_or_else(|| de::Error::custom("no decimal number"))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.clone()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

/// A date (its midnight) or a date-time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub OffsetDateTime);

impl Moment {
    /// The day as parameters want it.
    pub fn day(self) -> Option<String> {
        self.0.date().format(DAY).ok()
    }
}

/// Reads either form.
pub fn moment(text: &str) -> Option<Moment> {
    let day = || Date::parse(text, DAY).ok().map(|day| day.with_time(Time::MIDNIGHT).assume_utc());
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .or_else(day)
        .map(|at| Moment(at.to_offset(time::UtcOffset::UTC)))
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        moment(&text).ok_or_else(|| de::Error::custom("neither a date nor a date-time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn read(text: &str) -> Option<i64> {
        let decimal: Decimal = serde_json::from_str(text).ok()?;
        decimal.money(Currency::USD).ok().map(Money::minor)
    }

    /// BIL-06: each form that was seen on a running server.
    #[test]
    fn amounts_are_read_from_their_literal_text() {
        for (text, cents) in [
            ("10", 1000),
            ("10.00", 1000),
            ("9.67", 967),
            ("0E-9", 0),
            ("10.000000000", 1000),
            ("-1.25", -125),
            ("1e1", 1000),
        ] {
            assert_eq!(read(text), Some(cents), "{text}");
        }
        assert_eq!(Decimal::of(Money::new(967, Currency::USD)).0, "9.67");
        assert_eq!(serde_json::to_string(&Decimal::of(Money::new(-5, Currency::USD))).unwrap(), "-0.05");
    }

    #[test]
    fn fractions_of_a_cent_and_words_are_no_amounts() {
        for text in ["9.675", "1E-3", "\"ten\"", "null", "{}", "1E99", "99999999999999999999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_the_way_there_and_back(minor in any::<i32>()) {
            let there = serde_json::to_string(&Decimal::of(Money::new(minor.into(), Currency::USD))).unwrap();
            prop_assert_eq!(read(&there), Some(minor.into()));
        }
    }

    #[test]
    fn dates_and_date_times_are_both_read() {
        assert_eq!(moment("2026-11-25"), Some(Moment(datetime!(2026-11-25 0:00 UTC))));
        assert_eq!(moment("2026-11-25T06:21:04.000Z"), Some(Moment(datetime!(2026-11-25 6:21:04 UTC))));
        assert_eq!(moment("2026-11-25T06:21:04.000+00:00"), Some(Moment(datetime!(2026-11-25 6:21:04 UTC))));
        assert_eq!(moment("soon"), None);
        assert_eq!(moment("2026-11-25T06:21:04Z").and_then(Moment::day).as_deref(), Some("2026-11-25"));
    }
}
