//! What operators do: longer trials, reconciliation, the test clock.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dto::scalars::Time;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendTrial {
    #[schema(minimum = 1, maximum = 30)]
    pub days: u32,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reconcile {
    #[schema(format = Uuid)]
    pub customer_id: Option<uuid::Uuid>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskStarted {
    #[schema(format = Uuid)]
    pub task_id: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    /// ISO 8601 duration of weeks, days, hours, minutes and seconds
    #[schema(example = "P15D")]
    pub advance: String,
}

impl Advance {
    /// Its length in seconds. Months and years have no length of their own and are refused.
    pub fn seconds(&self) -> Option<u64> {
        let mut rest = self.advance.strip_prefix('P')?;
        let (mut total, mut in_time, mut parts) = (0_u64, false, 0);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('T').filter(|_| !in_time) {
                (in_time, rest) = (true, after);
                continue;
            }
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, unit) = rest.split_at_checked(digits)?;
            let length: u64 = match (in_time, unit.chars().next()?) {
                (false, 'W') => 7 * 86_400,
                (false, 'D') => 86_400,
                (true, 'H') => 3_600,
                (true, 'M') => 60,
                (true, 'S') => 1,
                _ => return None,
            };
            total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(length)?)?;
            parts += 1;
            rest = unit.get(1..)?;
        }
        (parts > 0).then_some(total)
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClockAnswer {
    pub now: Option<Time>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_months_are_refused() {
        let seconds = |text: &str| Advance { advance: text.into() }.seconds();
        assert_eq!(seconds("P15D"), Some(15 * 86_400));
        assert_eq!(seconds("P1WT1H30M5S"), Some(7 * 86_400 + 5_405));
        for bad in
            ["", "P", "PT", "15D", "P1M", "P1Y", "PD", "P1H", "P-1D", "P99999999999999999999D", "P1DT1H2"]
        {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
