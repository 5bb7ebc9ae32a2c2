//! The overdue ladder (BIL-14, BIL-15): warned, suspended, terminated, one step after the other, counted from
//! the oldest due date.

use std::fmt;
use std::str::FromStr;

use time::{Duration, OffsetDateTime};

/// How far an unpaid subscription has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DunningState {
    /// Nothing is overdue for long.
    None,
    /// Warned by mail; plan changes are blocked.
    Warning,
    /// The instance is off, its data is kept.
    Suspended,
    /// The subscription ended for its debts.
    Terminated,
}

impl DunningState {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::None, Self::Warning, Self::Suspended, Self::Terminated];

    /// The word in SQL and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Warning => "warning",
            Self::Suspended => "suspended",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for DunningState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A ladder word that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown dunning state {0:?}")]
pub struct UnknownDunningState(String);

impl FromStr for DunningState {
    type Err = UnknownDunningState;
    fn from_str(word: &str) -> Result<Self, UnknownDunningState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| UnknownDunningState(word.into()))
    }
}

/// Days of the ladder, from the due date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DunningRules {
    /// Warned then.
    pub warning_days: u16,
    /// Suspended then.
    pub suspend_days: u16,
    /// Terminated then.
    pub terminate_days: u16,
}

impl DunningRules {
    /// Least time between suspension and termination, however late the suspension came (BIL-15).
    pub const LEAST_SUSPENDED: Duration = Duration::hours(24);
}

impl Default for DunningRules {
    fn default() -> Self {
        Self { warning_days: 10, suspend_days: 14, terminate_days: 21 }
    }
}

/// The next step of a subscription whose oldest debt was due at `due`, and when. Only ever one step: each is
/// taken once and in order.
pub fn next_step(
    state: DunningState,
    since: Option<OffsetDateTime>,
    due: OffsetDateTime,
    rules: DunningRules,
) -> Option<(OffsetDateTime, DunningState)> {
    let day = |days: u16| due + Duration::days(days.into());
    match state {
        DunningState::None => Some((day(rules.warning_days), DunningState::Warning)),
        DunningState::Warning => Some((day(rules.suspend_days), DunningState::Suspended)),
        DunningState::Suspended => {
            let least = since.unwrap_or(due) + DunningRules::LEAST_SUSPENDED;
            Some((day(rules.terminate_days).max(least), DunningState::Terminated))
        }
        DunningState::Terminated => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const DUE: OffsetDateTime = datetime!(2028-02-20 9:00 UTC);

    /// BIL-14
    #[test]
    fn the_steps_come_at_ten_fourteen_and_twenty_one_days() {
        let rules = DunningRules::default();
        let warned = next_step(DunningState::None, None, DUE, rules);
        assert_eq!(warned, Some((datetime!(2028-03-01 9:00 UTC), DunningState::Warning)));
        let suspended = next_step(DunningState::Warning, None, DUE, rules);
        assert_eq!(suspended, Some((datetime!(2028-03-05 9:00 UTC), DunningState::Suspended)));
        let ended = next_step(DunningState::Suspended, suspended.map(|(at, _)| at), DUE, rules);
        assert_eq!(ended, Some((datetime!(2028-03-12 9:00 UTC), DunningState::Terminated)));
        assert_eq!(next_step(DunningState::Terminated, None, DUE, rules), None);
    }

    proptest! {
        /// BIL-15: whenever somebody looks again, each step is taken once, in order, and a day lies between
        /// suspension and termination.
        #[test]
        fn any_jumps_take_each_step_once_and_in_order(jumps in proptest::collection::vec(0_i64..40 * 24, 1..40)) {
            let rules = DunningRules::default();
            let (mut now, mut state, mut since) = (DUE, DunningState::None, None);
            let mut taken = Vec::new();
            for hours in jumps.into_iter().chain([21 * 24, 25, 25, 25]) {
                now += Duration::hours(hours);
                while let Some((at, next)) = next_step(state, since, DUE, rules).filter(|(at, _)| *at <= now) {
                    prop_assert!(at <= now);
                    taken.push((now, next));
                    (state, since) = (next, Some(now));
                }
            }
            let order: Vec<DunningState> = taken.iter().map(|(_, state)| *state).collect();
            prop_assert_eq!(order, DunningState::ALL[1..].to_vec());
            prop_assert!(taken[2].0 - taken[1].0 >= DunningRules::LEAST_SUSPENDED);
        }
    }
}
