//! When something is due for a subscription, and what: one step at a time, in the order of time. The engine
//! takes the step, looks again, and comes to the same end whether it looked each second or once after a year
//! (BIL-15, BIL-20).

use time::{Duration, OffsetDateTime};

use super::dunning::{DunningRules, DunningState, next_step};
use super::subscription::Status;

/// What the schedule must know of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where it stands.
    pub status: Status,
    /// When it was ordered.
    pub created_at: OffsetDateTime,
    /// End of the trial.
    pub trial_ends_at: Option<OffsetDateTime>,
    /// End of the present period; of the trial while it lasts.
    pub period_end: Option<OffsetDateTime>,
    /// Ends then.
    pub cancel_at: Option<OffsetDateTime>,
    /// How far the ladder is.
    pub dunning: DunningState,
    /// Since when.
    pub dunning_since: Option<OffsetDateTime>,
    /// Due date of the oldest debt.
    pub oldest_due: Option<OffsetDateTime>,
    /// Trial reminders that were sent, by days.
    pub reminded: Vec<u16>,
}

impl Facts {
    /// The present period is the trial.
    pub fn in_trial(&self) -> bool {
        self.trial_ends_at.is_some() && self.trial_ends_at == self.period_end
    }
}

/// What the schedule goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Days of the ladder.
    pub dunning: DunningRules,
    /// Days before the end of a trial, largest first.
    pub reminder_days: Vec<u16>,
    /// How long an order waits for its first payment.
    pub pay_within: Duration,
    /// We keep the books, and so end periods; else the provider does.
    pub keeps_books: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Say that the trial ends in so many days.
    Remind(u16),
    /// End it: the cancel date is here.
    Cancel,
    /// End it: the first payment never came.
    Expire,
    /// Say that a debt is overdue: plan changes wait from now on.
    Overdue,
    /// The next step of the ladder.
    Dunning(DunningState),
    /// Begin the next period.
    Renew,
}

/// How long an invoice may be open before the subscription counts as past due.
const GRACE: Duration = Duration::days(1);

/// The next step and its time, which may be over already. `None`: nothing will ever be due by itself.
pub fn next(facts: &Facts, rules: &Rules) -> Option<(OffsetDateTime, Step)> {
    match facts.status {
        Status::Ended => return None,
        Status::Pending => return Some((facts.created_at + rules.pay_within, Step::Expire)),
        _ => {}
    }
    let mut steps = Vec::with_capacity(6);
    if let (true, Some(end)) = (facts.in_trial(), facts.trial_ends_at) {
        let left = rules.reminder_days.iter().filter(|days| !facts.reminded.contains(days));
        steps.extend(left.map(|days| (end - Duration::days((*days).into()), Step::Remind(*days))));
    }
    steps.extend(facts.cancel_at.map(|at| (at, Step::Cancel)));
    if let Some(due) = facts.oldest_due {
        if facts.status == Status::Active {
            steps.push((due + GRACE, Step::Overdue));
        }
        steps.extend(
            next_step(facts.dunning, facts.dunning_since, due, rules.dunning)
                .map(|(at, state)| (at, Step::Dunning(state))),
        );
    }
    // Service that is not given is not billed: a suspended subscription begins no period.
    if rules.keeps_books && facts.status != Status::Suspended {
        steps.extend(facts.period_end.map(|at| (at, Step::Renew)));
    }
    steps.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::period::BillingPeriod;
    use proptest::prelude::*;
    use time::macros::datetime;

    const START: OffsetDateTime = datetime!(2027-01-31 12:00 UTC);

    fn rules() -> Rules {
        Rules {
            dunning: DunningRules::default(),
            reminder_days: vec![7, 3, 1],
            pay_within: Duration::days(7),
            keeps_books: true,
        }
    }

    fn trial() -> Facts {
        let end = START + Duration::days(14);
        Facts {
            status: Status::Trialing,
            created_at: START,
            trial_ends_at: Some(end),
            period_end: Some(end),
            cancel_at: None,
            dunning: DunningState::None,
            dunning_since: None,
            oldest_due: None,
            reminded: vec![],
        }
    }

    /// BIL-11, BIL-12
    #[test]
    fn a_trial_is_reminded_of_three_times_and_then_ends() {
        let (mut facts, mut seen) = (trial(), Vec::new());
        while let Some((at, step)) = next(&facts, &rules()) {
            seen.push(((at - START).whole_days(), step));
            match step {
                Step::Remind(days) => facts.reminded.push(days),
                _ => break,
            }
        }
        let wanted = [(7, Step::Remind(7)), (11, Step::Remind(3)), (13, Step::Remind(1)), (14, Step::Renew)];
        assert_eq!(seen, wanted);
    }

    /// BIL-23: a cancelled trial ends with the trial, and no period begins in the same moment.
    #[test]
    fn the_cancel_date_comes_before_the_period_that_would_begin_then() {
        let mut facts = trial();
        facts.reminded = vec![7, 3, 1];
        facts.cancel_at = facts.trial_ends_at;
        facts.status = Status::Cancelling;
        assert_eq!(next(&facts, &rules()).unwrap().1, Step::Cancel);
    }

    /// BIL-13
    #[test]
    fn an_unpaid_order_waits_seven_days_and_for_nothing_else() {
        let facts = Facts { status: Status::Pending, oldest_due: Some(START), ..trial() };
        assert_eq!(next(&facts, &rules()), Some((START + Duration::days(7), Step::Expire)));
        assert_eq!(next(&Facts { status: Status::Ended, ..trial() }, &rules()), None);
    }

    /// BIL-05, BIL-32: with a provider that keeps the books, the ladder is still ours and the periods are
    /// not.
    #[test]
    fn a_provider_that_keeps_the_books_ends_the_periods() {
        let facts = Facts { status: Status::Active, trial_ends_at: None, ..trial() };
        let theirs = Rules { keeps_books: false, ..rules() };
        assert_eq!(next(&facts, &theirs), None);
        let owing = Facts {
            oldest_due: Some(START),
            dunning: DunningState::Warning,
            status: Status::PastDue,
            ..facts
        };
        assert_eq!(next(&owing, &theirs).unwrap().1, Step::Dunning(DunningState::Suspended));
    }

    proptest! {
        /// BIL-20: five years of a paying customer, looked at in any rhythm, give each period once and on its
        /// anchor day.
        #[test]
        fn any_rhythm_of_looks_gives_the_same_periods(day in 0_i64..1461, kind in 0_usize..4, gaps in proptest::collection::vec(1_i64..500, 1..200)) {
            let period = BillingPeriod::ALL[kind];
            let first = datetime!(2024-01-01 8:00 UTC) + Duration::days(day);
            let last = first + Duration::days(5 * 365);
            let mut facts = Facts { status: Status::Active, created_at: first, trial_ends_at: None, period_end: Some(first), ..trial() };
            let (mut now, mut starts) = (first, Vec::new());
            for gap in gaps.iter().cycle() {
                while let Some((at, step)) = next(&facts, &rules()).filter(|(at, _)| *at <= now) {
                    prop_assert_eq!(step, Step::Renew);
                    starts.push(at);
                    facts.period_end = Some(period.end(at, first.day()));
                }
                if now >= last { break; }
                now = (now + Duration::days(*gap)).min(last);
            }
            let wanted: Vec<_> = (0..2_000).map(|count| crate::domain::period::add_months(first, period.months() * count, first.day()))
                .take_while(|at| *at <= last).collect();
            prop_assert_eq!(starts, wanted);
        }
    }
}
