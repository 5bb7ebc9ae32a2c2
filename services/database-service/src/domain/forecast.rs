//! How long the free slots last at the present rate (DBS-06).

/// Days that the rate is taken from, at most.
pub const WINDOW_DAYS: f64 = 14.0;
/// And at least: the first hour of a platform says nothing about its years.
const LEAST_DAYS: f64 = 1.0;

/// Slots taken a day, net of those given back, over the `age` days that there were pools.
pub fn growth_per_day(taken: i64, given_back: i64, age_days: f64) -> f64 {
    to_float(taken - given_back) / age_days.clamp(LEAST_DAYS, WINDOW_DAYS)
}

/// Days until the free slots are gone; `None` while use does not grow.
pub fn days_left(free: i64, per_day: f64) -> Option<f64> {
    (per_day > 0.0).then(|| (to_float(free.max(0)) / per_day * 10.0).round() / 10.0)
}

/// Share of capacity in per cent, one digit.
pub fn utilization(used: i64, capacity: i64) -> f64 {
    if capacity <= 0 { 0.0 } else { (to_float(used) * 1000.0 / to_float(capacity)).round() / 10.0 }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of slots are far below 2^52")]
fn to_float(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DBS-06
    #[test]
    fn the_forecast_follows_the_rate() {
        assert_eq!(days_left(30, growth_per_day(28, 0, 100.0)), Some(15.0));
        assert_eq!(days_left(30, growth_per_day(5, 5, 100.0)), None, "no growth");
        assert_eq!(days_left(30, growth_per_day(1, 5, 100.0)), None, "it shrinks");
        assert_eq!(
            days_left(40, growth_per_day(10, 0, 0.01)),
            Some(4.0),
            "a young platform counts as a day old"
        );
        assert_eq!(days_left(0, 1.0), Some(0.0));
        assert_eq!((utilization(1, 8), utilization(0, 0)), (12.5, 0.0));
    }
}
