use proptest::prelude::*;
use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::domain::catalogue::{DbType, Tier};
use crate::domain::money::{Currency, Money};
use crate::domain::period::BillingPeriod;

const NOW: OffsetDateTime = datetime!(2027-01-31 12:00 UTC);
const END: OffsetDateTime = datetime!(2027-02-28 12:00 UTC);

fn plan(name: &str, period: BillingPeriod) -> Plan {
    Plan {
        name: name.into(),
        product: name.into(),
        description: String::new(),
        tier: Tier::Basic,
        billing_period: period,
        price: Money::new(900, Currency::USD),
        trial_days: 0,
        active: true,
        cpu_millis: 500,
        memory_mib: 512,
        storage_mib: 1024,
        db_type: DbType::Shared,
        db_tier: String::new(),
        backup_schedule: String::new(),
        backups_keep: 0,
        entitlement_version: 2,
    }
}

fn row(status: Status) -> Subscription {
    Subscription {
        id: Uuid::nil(),
        order_id: Uuid::nil(),
        customer_id: Uuid::nil(),
        instance_id: Uuid::nil(),
        plan_name: "basic-monthly".into(),
        entitlement_version: 1,
        billing_period: BillingPeriod::Monthly,
        price: Money::new(500, Currency::USD),
        status,
        trial_ends_at: (status == Status::Trialing).then_some(END),
        current_period_start: Some(NOW),
        current_period_end: Some(END),
        cancel_at: None,
        ended_at: None,
        end_reason: None,
        provider: "ledger".into(),
        provider_id: String::new(),
        created_at: NOW,
        anchor_day: 31,
        dunning: DunningState::None,
        dunning_since: None,
        pending: None,
        cancel_reason: None,
        coupon: None,
    }
}

/// BIL-13
#[test]
fn the_first_payment_begins_the_first_period() {
    let mut paid = row(Status::Pending);
    let later = datetime!(2027-03-05 8:00 UTC);
    assert_eq!(paid.activate(later), Fact { announcement: Announcement::Changed, reason: "paid" });
    assert_eq!((paid.status, paid.anchor_day), (Status::Active, 5));
    assert_eq!(paid.period(), Some((later, datetime!(2027-04-05 8:00 UTC))));
}

/// BIL-14, BIL-16: each step of dunning, and the way back from it.
#[test]
fn dunning_suspends_and_a_payment_resumes() {
    let mut late = row(Status::Active);
    assert_eq!(late.advance_dunning(DunningState::Warning, NOW).announcement, Announcement::Changed);
    assert_eq!((late.status, late.dunning_since), (Status::PastDue, Some(NOW)));
    assert_eq!(late.advance_dunning(DunningState::Suspended, NOW).announcement, Announcement::Suspended);
    assert_eq!(late.status, Status::Suspended);
    // A whole period passed while it was off and is not billed; the next one is that which contains now.
    let paid = late.clear_debts(datetime!(2027-04-10 12:00 UTC));
    assert_eq!(paid, Some(Fact { announcement: Announcement::Resumed, reason: "paid" }));
    assert_eq!((late.status, late.dunning, late.dunning_since), (Status::Active, DunningState::None, None));
    assert_eq!(late.current_period_start, Some(datetime!(2027-02-28 12:00 UTC)));
    assert_eq!(late.current_period_end, Some(datetime!(2027-03-31 12:00 UTC)));
    assert_eq!(row(Status::Trialing).clear_debts(NOW), None);
}

/// BIL-23
#[test]
fn a_cancellation_keeps_the_debt_and_can_be_taken_back() {
    let mut left = row(Status::PastDue);
    left.cancel(END, Some("too dear"), true);
    assert_eq!((left.status, left.cancel_at), (Status::PastDue, Some(END)));
    // Who pays runs until the date.
    left.clear_debts(NOW);
    assert_eq!(left.status, Status::Cancelling);
    left.undo_cancel();
    assert_eq!((left.status, left.cancel_at, left.cancel_reason), (Status::Active, None, None));
    let mut trial = row(Status::Trialing);
    trial.cancel(END, None, true);
    trial.undo_cancel();
    assert_eq!(trial.status, Status::Trialing);
}

/// BIL-21: only another rhythm, or the end of a trial, begins a new period.
#[test]
fn an_upgrade_keeps_the_period_unless_its_rhythm_changes() {
    let now = datetime!(2027-02-10 9:00 UTC);
    let mut same = row(Status::Active);
    let (before, fact) = same.upgrade(&plan("standard-monthly", BillingPeriod::Monthly), now);
    assert_eq!((before.as_str(), fact.reason), ("basic-monthly", "upgraded"));
    assert_eq!((same.period(), same.entitlement_version), (Some((NOW, END)), 2));
    let mut yearly = row(Status::Active);
    yearly.upgrade(&plan("standard-yearly", BillingPeriod::Annual), now);
    assert_eq!(yearly.period(), Some((now, datetime!(2028-02-10 9:00 UTC))));
    let mut trial = row(Status::Trialing);
    trial.upgrade(&plan("standard-monthly", BillingPeriod::Monthly), now);
    assert_eq!((trial.status, trial.anchor_day, trial.in_trial()), (Status::Active, 10, false));
}

/// BIL-24: who was ended for a debt comes back suspended, until it is paid.
#[test]
fn what_comes_back_agrees_with_its_dunning() {
    let mut back = Subscription { dunning: DunningState::Terminated, ..row(Status::Active) };
    back.come_back(true, true, NOW);
    assert_eq!((back.status, back.dunning), (Status::Suspended, DunningState::Suspended));
    let mut clear = Subscription { cancel_at: Some(NOW), ..back };
    clear.status = Status::Active;
    clear.come_back(false, true, NOW);
    assert_eq!((clear.status, clear.dunning, clear.cancel_at), (Status::Active, DunningState::None, None));
}

proptest! {
    /// Whatever happens in whatever order, the parts of a subscription agree.
    #[test]
    fn any_sequence_keeps_the_parts_in_agreement(steps in proptest::collection::vec(0_u8..9, 1..40)) {
        let (mut one, mut now) = (row(Status::Active), NOW);
        for step in steps {
            now += Duration::days(3);
            match step {
                0 if one.status == Status::Active => {
                    one.fall_due();
                }
                1 => {
                    one.advance_dunning(DunningState::Warning, now);
                }
                2 => {
                    one.advance_dunning(DunningState::Suspended, now);
                }
                3 => {
                    one.clear_debts(now);
                }
                4 if one.status != Status::Suspended => {
                    one.cancel(now + Duration::days(9), None, true);
                }
                5 if one.status != Status::Suspended => {
                    one.undo_cancel();
                }
                6 => {
                    one.wait_for_downgrade(&plan("basic-yearly", BillingPeriod::Annual), one.current_period_end);
                }
                7 => {
                    one.undo_downgrade();
                }
                8 => {
                    one.take_plan(&plan("basic-yearly", BillingPeriod::Annual));
                }
                _ => {}
            }
            prop_assert!(one.status != Status::Cancelling || one.cancel_at.is_some());
            prop_assert!(one.status != Status::Suspended || one.dunning == DunningState::Suspended);
            prop_assert_eq!(one.dunning == DunningState::None, one.dunning_since.is_none());
            let (start, end) = one.period().unwrap();
            prop_assert!(start < end);
        }
        one.clear_debts(now);
        prop_assert!(one.dunning == DunningState::None);
        prop_assert!(matches!(one.status, Status::Active | Status::Cancelling));
    }
}
