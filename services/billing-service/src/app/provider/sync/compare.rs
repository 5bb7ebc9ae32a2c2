//! What a provider's subscription says against our row. Pure: nothing is read or written here.

use time::{OffsetDateTime, Time};

use crate::domain::subscription::Status;
use crate::domain::subscription::Subscription;
use crate::provider::SnapshotSubscription;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It lives there and ended here: the provider shall be told again.
    StillLives,
    /// It will end then.
    Cancelled(OffsetDateTime),
    /// It ends at another time.
    CancelMoved(OffsetDateTime),
    /// It will not end.
    CancelUndone,
    /// The trial ends then.
    TrialEnds(OffsetDateTime),
    /// A period began.
    Period(OffsetDateTime, OffsetDateTime),
    /// It has another plan.
    Plan(String),
    /// It will have another plan then.
    PlanWaits(String, OffsetDateTime),
    /// It will keep its plan.
    PlanKept,
}

/// Days are told more often than times: a time of ours on the same day stays, another day keeps our time of
/// the day.
pub fn aligned(ours: Option<OffsetDateTime>, theirs: OffsetDateTime) -> OffsetDateTime {
    match ours {
        Some(ours) if ours.date() == theirs.date() => ours,
        Some(ours) if theirs.time() == Time::MIDNIGHT => theirs.replace_time(ours.time()),
        _ => theirs,
    }
}

/// All differences but the end, in the order in which they are written. `periods`: of the lines that were
/// billed for it.
pub fn differences(
    row: &Subscription,
    theirs: &SnapshotSubscription,
    periods: &[(OffsetDateTime, OffsetDateTime)],
    now: OffsetDateTime,
) -> Vec<Difference> {
    let mut all = Vec::new();
    if row.status == Status::Ended {
        if theirs.ended_at.is_none() {
            all.push(Difference::StillLives);
        }
        return all;
    }
    if theirs.ended_at.is_some() {
        return all;
    }
    plan(row, theirs, &mut all);
    time(row, theirs, periods, &mut all);
    match (row.cancel_at, theirs.cancel_at) {
        (None, Some(at)) => all.push(Difference::Cancelled(aligned(row.current_period_end, at))),
        (Some(ours), Some(at)) if ours.date() != at.date() => {
            all.push(Difference::CancelMoved(aligned(Some(ours), at)));
        }
        // Its date is here: the engine ends it, whatever the provider's clock says.
        (Some(ours), None) if ours > now => all.push(Difference::CancelUndone),
        _ => {}
    }
    all
}

fn plan(row: &Subscription, theirs: &SnapshotSubscription, all: &mut Vec<Difference>) {
    let waiting = row.pending.as_ref();
    // An upgrade that waits for its payment is made there already.
    let is_unpaid = |name: &str| {
        waiting.is_some_and(|pending| pending.effective_at.is_none() && pending.plan_name == name)
    };
    if theirs.plan_name != row.plan_name && !is_unpaid(&theirs.plan_name) {
        all.push(Difference::Plan(theirs.plan_name.clone()));
        return;
    }
    let downgrade = waiting.filter(|pending| pending.effective_at.is_some());
    match (downgrade, &theirs.pending) {
        (Some(ours), Some((plan, _))) if ours.plan_name == *plan => {}
        (_, Some((plan, at))) if waiting.is_none() || downgrade.is_some() => {
            all.push(Difference::PlanWaits(plan.clone(), aligned(row.current_period_end, *at)));
        }
        (Some(_), None) => all.push(Difference::PlanKept),
        _ => {}
    }
}

fn time(
    row: &Subscription,
    theirs: &SnapshotSubscription,
    periods: &[(OffsetDateTime, OffsetDateTime)],
    all: &mut Vec<Difference>,
) {
    if row.in_trial()
        && let (Some(ours), Some(at)) = (row.trial_ends_at, theirs.trial_ends_at)
    {
        if ours.date() != at.date() {
            all.push(Difference::TrialEnds(aligned(Some(ours), at)));
        }
        return;
    }
    // What was never paid has no period.
    let (Some(charged), false) = (theirs.charged_through, row.status == Status::Pending) else { return };
    let end = aligned(row.current_period_end, charged);
    let billed = periods.iter().rev().find(|(_, billed)| billed.date() == charged.date());
    match row.current_period_end {
        Some(ours) if ours.date() == end.date() => {}
        Some(ours) if end > ours => {
            // After a gap the period that was billed last; else it follows the one before.
            let start = billed.map_or(ours, |(start, _)| aligned(Some(ours), *start));
            all.push(Difference::Period(start.min(end), end));
        }
        // A shorter one must have been billed; what was never billed says nothing.
        Some(_) if row.in_trial() => {}
        Some(_) => {
            let start = billed.map(|(start, _)| aligned(row.current_period_start, *start));
            if let Some(start) = start.filter(|start| *start < end) {
                all.push(Difference::Period(start, end));
            }
        }
        None => {
            let start = billed.map_or(row.created_at, |(start, _)| aligned(Some(row.created_at), *start));
            if start < end {
                all.push(Difference::Period(start, end));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dunning::DunningState;
    use crate::domain::money::{Currency, Money};
    use crate::domain::period::BillingPeriod;
    use crate::domain::subscription::PendingChange;
    use time::macros::datetime;
    use uuid::Uuid;

    const START: OffsetDateTime = datetime!(2027-01-10 15:30 UTC);
    const END: OffsetDateTime = datetime!(2027-02-10 15:30 UTC);
    const NOW: OffsetDateTime = datetime!(2027-01-20 8:00 UTC);

    fn row() -> Subscription {
        Subscription {
            id: Uuid::nil(),
            order_id: Uuid::nil(),
            customer_id: Uuid::nil(),
            instance_id: Uuid::nil(),
            plan_name: "basic-monthly".into(),
            entitlement_version: 1,
            billing_period: BillingPeriod::Monthly,
            price: Money::new(900, Currency::USD),
            status: Status::Active,
            trial_ends_at: None,
            current_period_start: Some(START),
            current_period_end: Some(END),
            cancel_at: None,
            ended_at: None,
            end_reason: None,
            provider: "killbill".into(),
            provider_id: "s-1".into(),
            created_at: START,
            anchor_day: 10,
            dunning: DunningState::None,
            dunning_since: None,
            pending: None,
            cancel_reason: None,
            coupon: None,
        }
    }

    fn theirs() -> SnapshotSubscription {
        SnapshotSubscription {
            id: Some(Uuid::nil()),
            provider_id: "s-1".into(),
            plan_name: "basic-monthly".into(),
            trial_ends_at: None,
            charged_through: Some(datetime!(2027-02-10 0:00 UTC)),
            pending: None,
            cancel_at: None,
            ended_at: None,
        }
    }

    fn found(row: &Subscription, theirs: &SnapshotSubscription) -> Vec<Difference> {
        differences(row, theirs, &[], NOW)
    }

    /// BIL-33: the same state in days instead of times is no difference.
    #[test]
    fn the_same_state_is_no_difference() {
        assert_eq!(found(&row(), &theirs()), []);
        let cancelled = Subscription { cancel_at: Some(END), status: Status::Cancelling, ..row() };
        let says = SnapshotSubscription { cancel_at: Some(datetime!(2027-02-10 0:00 UTC)), ..theirs() };
        assert_eq!(found(&cancelled, &says), []);
        assert_eq!(found(&row(), &says), [Difference::Cancelled(END)]);
        assert_eq!(found(&cancelled, &theirs()), [Difference::CancelUndone]);
        // Its date is over: the engine's work, and not to be taken back.
        assert_eq!(differences(&cancelled, &theirs(), &[], END), []);
    }

    /// BIL-12, BIL-20
    #[test]
    fn a_trial_that_is_over_and_a_renewal_are_periods_that_follow() {
        let trial = Subscription { trial_ends_at: Some(END), status: Status::Trialing, ..row() };
        let in_trial =
            SnapshotSubscription { trial_ends_at: Some(datetime!(2027-02-10 0:00 UTC)), ..theirs() };
        assert_eq!(found(&trial, &in_trial), []);
        // Not billed yet: nothing is said.
        assert_eq!(found(&trial, &theirs()), []);
        let billed =
            SnapshotSubscription { charged_through: Some(datetime!(2027-03-10 0:00 UTC)), ..theirs() };
        let next = Difference::Period(END, datetime!(2027-03-10 15:30 UTC));
        assert_eq!(found(&trial, &billed), found(&row(), &billed));
        assert_eq!(found(&row(), &billed), [next]);
        // Several at once: the last one is the present one.
        let late = SnapshotSubscription { charged_through: Some(datetime!(2027-05-10 0:00 UTC)), ..theirs() };
        let periods = [
            (datetime!(2027-03-10 0:00 UTC), datetime!(2027-04-10 0:00 UTC)),
            (datetime!(2027-04-10 0:00 UTC), datetime!(2027-05-10 0:00 UTC)),
        ];
        let wanted = Difference::Period(datetime!(2027-04-10 15:30 UTC), datetime!(2027-05-10 15:30 UTC));
        assert_eq!(differences(&row(), &late, &periods, NOW), [wanted]);
    }

    /// BIL-21, BIL-22
    #[test]
    fn plans_follow_unless_they_wait_for_their_payment() {
        let other = SnapshotSubscription { plan_name: "standard-monthly".into(), ..theirs() };
        assert_eq!(found(&row(), &other), [Difference::Plan("standard-monthly".into())]);
        let pending = |at| {
            Some(PendingChange {
                plan_name: "standard-monthly".into(),
                entitlement_version: 1,
                effective_at: at,
                invoice_id: None,
            })
        };
        let unpaid = Subscription { pending: pending(None), ..row() };
        assert_eq!(found(&unpaid, &other), []);
        let downgrade = Subscription { pending: pending(Some(END)), ..row() };
        assert_eq!(found(&downgrade, &theirs()), [Difference::PlanKept]);
        assert_eq!(found(&downgrade, &other), [Difference::Plan("standard-monthly".into())]);
        let waits = SnapshotSubscription {
            pending: Some(("standard-monthly".into(), datetime!(2027-02-10 0:00 UTC))),
            ..theirs()
        };
        assert_eq!(found(&downgrade, &waits), []);
        assert_eq!(found(&row(), &waits), [Difference::PlanWaits("standard-monthly".into(), END)]);
    }

    #[test]
    fn what_ended_here_and_lives_there_is_told_again() {
        let ended = Subscription { status: Status::Ended, ended_at: Some(NOW), ..row() };
        assert_eq!(found(&ended, &theirs()), [Difference::StillLives]);
        assert_eq!(found(&ended, &SnapshotSubscription { ended_at: Some(NOW), ..theirs() }), []);
    }
}
