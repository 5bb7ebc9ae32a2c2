//! Billing periods: whole months from an anchor day, which short months do not wear away (BIL-20).

use std::fmt;
use std::str::FromStr;

use time::{Date, Month, OffsetDateTime};

/// How often a plan is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BillingPeriod {
    /// Each month.
    Monthly,
    /// Each 3 months.
    Quarterly,
    /// Each 6 months.
    Biannual,
    /// Each 12 months.
    Annual,
}

impl BillingPeriod {
    /// All of them, shortest first.
    pub const ALL: [Self; 4] = [Self::Monthly, Self::Quarterly, Self::Biannual, Self::Annual];

    /// Its length.
    pub fn months(self) -> i32 {
        match self {
            Self::Monthly => 1,
            Self::Quarterly => 3,
            Self::Biannual => 6,
            Self::Annual => 12,
        }
    }

    /// The word in SQL and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Monthly => "monthly",
            Self::Quarterly => "quarterly",
            Self::Biannual => "biannual",
            Self::Annual => "annual",
        }
    }

    /// End of the period that begins at `start`, for a subscription with this anchor day.
    pub fn end(self, start: OffsetDateTime, anchor_day: u8) -> OffsetDateTime {
        add_months(start, self.months(), anchor_day)
    }
}

impl fmt::Display for BillingPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A period word that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown billing period {0:?}")]
pub struct UnknownPeriod(String);

impl FromStr for BillingPeriod {
    type Err = UnknownPeriod;
    fn from_str(word: &str) -> Result<Self, UnknownPeriod> {
        Self::ALL.into_iter().find(|period| period.as_str() == word).ok_or_else(|| UnknownPeriod(word.into()))
    }
}

/// `at` plus whole months, on the anchor day or the last day of a shorter month; the time of day stays.
pub fn add_months(at: OffsetDateTime, months: i32, anchor_day: u8) -> OffsetDateTime {
    let index = at.year() * 12 + i32::from(u8::from(at.month())) - 1 + months;
    let year = index.div_euclid(12);
    let month = u8::try_from(index.rem_euclid(12) + 1)
        .ok()
        .and_then(|month| Month::try_from(month).ok())
        .unwrap_or(Month::January);
    let day = anchor_day.clamp(1, month.length(year));
    // Out of the calendar only after the year 9999.
    Date::from_calendar_date(year, month, day).map_or(at, |date| at.replace_date(date))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    /// BIL-20
    #[test]
    fn the_anchor_day_survives_short_months() {
        let start = datetime!(2027-01-31 10:30 UTC);
        let february = BillingPeriod::Monthly.end(start, 31);
        let march = BillingPeriod::Monthly.end(february, 31);
        assert_eq!(february, datetime!(2027-02-28 10:30 UTC));
        assert_eq!(march, datetime!(2027-03-31 10:30 UTC));
        assert_eq!(
            BillingPeriod::Annual.end(datetime!(2028-02-29 0:00 UTC), 29),
            datetime!(2029-02-28 0:00 UTC)
        );
        assert_eq!(
            BillingPeriod::Quarterly.end(datetime!(2027-11-30 0:00 UTC), 30),
            datetime!(2028-02-29 0:00 UTC)
        );
    }

    proptest! {
        /// BIL-20: over five years of any period no day is lost, doubled or moved.
        #[test]
        fn periods_follow_each_other_on_the_anchor_day(days in 0_i64..3650, seconds in 0_i64..86_400, kind in 0_usize..4) {
            let first = datetime!(2024-01-01 0:00 UTC) + time::Duration::days(days) + time::Duration::seconds(seconds);
            let period = BillingPeriod::ALL[kind];
            let mut start = first;
            for count in 1..=60 / period.months() {
                let end = period.end(start, first.day());
                prop_assert!(end > start);
                prop_assert_eq!(end, add_months(first, period.months() * count, first.day()));
                prop_assert_eq!(end.day(), first.day().min(end.month().length(end.year())));
                prop_assert_eq!(end.time(), first.time());
                start = end;
            }
        }
    }
}
