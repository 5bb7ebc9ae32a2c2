//! What changes a subscription, each change in one place, whoever keeps the books. A change returns the fact
//! that is announced with it; what may be changed at all is checked by the use case before.

use time::OffsetDateTime;

use super::dunning::DunningState;
use super::plan::Plan;
use super::subscription::{PendingChange, Status, Subscription};

/// What a changed subscription is announced as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announcement {
    /// Something of it changed.
    Changed,
    /// The instance is to be switched off.
    Suspended,
    /// A suspended instance may run again.
    Resumed,
}

/// A fact about a subscription that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// As what it is announced.
    pub announcement: Announcement,
    /// Why, in the words of the events.
    pub reason: &'static str,
}

impl Fact {
    fn changed(reason: &'static str) -> Self {
        Self { announcement: Announcement::Changed, reason }
    }
}

impl Subscription {
    /// The first invoice of an order is paid: the first period begins now (BIL-13).
    pub fn activate(&mut self, now: OffsetDateTime) -> Fact {
        self.status = Status::Active;
        self.restart(self.billing_period.end(now, now.day()), now);
        Fact::changed("paid")
    }

    /// A debt is overdue: plan changes wait from now on.
    pub fn fall_due(&mut self) -> Fact {
        self.status = Status::PastDue;
        Fact::changed("overdue")
    }

    /// The next step of dunning: warned, then suspended (BIL-14). The last step ends the subscription, which
    /// announces itself.
    pub fn advance_dunning(&mut self, state: DunningState, now: OffsetDateTime) -> Fact {
        self.dunning = state;
        self.dunning_since = Some(now);
        match state {
            DunningState::Suspended => {
                self.status = Status::Suspended;
                Fact { announcement: Announcement::Suspended, reason: "overdue" }
            }
            DunningState::None | DunningState::Warning => self.fall_due(),
            DunningState::Terminated => Fact::changed("overdue"),
        }
    }

    /// Nothing is owed any more: dunning is left, and a suspended instance comes back (BIL-16). `None`:
    /// nobody needs to hear of it.
    pub fn clear_debts(&mut self, now: OffsetDateTime) -> Option<Fact> {
        if matches!(self.status, Status::Ended | Status::Pending) {
            return None;
        }
        let before = self.status;
        self.dunning = DunningState::None;
        self.dunning_since = None;
        if matches!(before, Status::Suspended | Status::PastDue) {
            self.status = if self.cancel_at.is_some() { Status::Cancelling } else { Status::Active };
        }
        match before {
            Status::Suspended => {
                self.skip_suspended(now);
                Some(Fact { announcement: Announcement::Resumed, reason: "paid" })
            }
            Status::PastDue | Status::Active | Status::Cancelling => Some(Fact::changed("paid")),
            Status::Pending | Status::Trialing | Status::Ended => None,
        }
    }

    /// It ends then (BIL-23). `runs_on`: until then it runs. Who is overdue stays so, since the debt is not
    /// forgotten.
    pub fn cancel(&mut self, at: OffsetDateTime, reason: Option<&str>, runs_on: bool) -> Fact {
        self.cancel_at = Some(at);
        self.cancel_reason = reason.map(ToOwned::to_owned);
        if runs_on && self.status != Status::PastDue {
            self.status = Status::Cancelling;
        }
        Fact::changed("cancelled")
    }

    /// It ends at another time.
    pub fn move_cancel(&mut self, at: OffsetDateTime) -> Fact {
        self.cancel_at = Some(at);
        Fact::changed("cancelled")
    }

    /// It does not end after all.
    pub fn undo_cancel(&mut self) -> Fact {
        self.forget_cancel();
        if self.status == Status::Cancelling {
            self.status = if self.in_trial() { Status::Trialing } else { Status::Active };
        }
        Fact::changed("cancel_undone")
    }

    /// A larger plan waits for its invoice to be paid (BIL-21).
    pub fn wait_for_upgrade(&mut self, plan: &Plan) -> Fact {
        self.pending = Some(waiting(plan, None));
        Fact::changed("upgrade_waits")
    }

    /// A smaller plan waits for its date (BIL-22).
    pub fn wait_for_downgrade(&mut self, plan: &Plan, at: Option<OffsetDateTime>) -> Fact {
        self.pending = Some(waiting(plan, at));
        Fact::changed("downgrade_waits")
    }

    /// The plan stays as it is.
    pub fn undo_downgrade(&mut self) -> Fact {
        self.pending = None;
        Fact::changed("downgrade_undone")
    }

    /// It has another plan from now on, and waits for none. The name of the former one.
    pub fn take_plan(&mut self, plan: &Plan) -> String {
        self.pending = None;
        self.entitlement_version = plan.entitlement_version;
        self.billing_period = plan.billing_period;
        self.price = plan.price;
        std::mem::replace(&mut self.plan_name, plan.name.clone())
    }

    /// A paid upgrade is made (BIL-21). A change of the rhythm, and a change out of the trial, begin a new
    /// period. The name of the former plan.
    pub fn upgrade(&mut self, plan: &Plan, now: OffsetDateTime) -> (String, Fact) {
        if self.billing_period != plan.billing_period || self.in_trial() {
            self.restart(plan.billing_period.end(now, now.day()), now);
        }
        if self.status == Status::Trialing {
            self.status = Status::Active;
        }
        (self.take_plan(plan), Fact::changed("upgraded"))
    }

    /// The next period begins: the trial is over, if there was one (BIL-12, BIL-20). `owes`: a trial ends in
    /// a debt.
    pub fn begin_period(&mut self, start: OffsetDateTime, end: OffsetDateTime, owes: bool) {
        self.current_period_start = Some(start);
        self.current_period_end = Some(end);
        if self.status == Status::Trialing {
            self.status = if owes { Status::PastDue } else { Status::Active };
        }
    }

    /// The trial ends at another time, and paid periods begin then.
    pub fn move_trial_end(&mut self, end: OffsetDateTime) {
        self.trial_ends_at = Some(end);
        self.current_period_end = Some(end);
        self.anchor_day = end.day();
    }

    /// It comes back after its end, in agreement with its dunning: whoever was suspended for a debt is so
    /// until it is paid, for a day at least (BIL-24). `skips`: periods in which nothing was given are not
    /// billed here.
    pub fn come_back(&mut self, owes: bool, skips: bool, now: OffsetDateTime) {
        // A date that passed meanwhile was met by the end; a person has brought it back after that.
        if self.cancel_at.is_some_and(|at| at <= now) {
            self.forget_cancel();
        }
        if self.cancel_at.is_some() {
            self.status = Status::Cancelling;
        }
        if skips {
            self.skip_suspended(now);
        }
        match self.dunning {
            _ if !owes => {
                self.dunning = DunningState::None;
                self.dunning_since = None;
            }
            DunningState::None => {}
            DunningState::Warning => self.status = Status::PastDue,
            DunningState::Suspended | DunningState::Terminated => {
                self.status = Status::Suspended;
                self.dunning = DunningState::Suspended;
                self.dunning_since = Some(now);
            }
        }
    }

    fn forget_cancel(&mut self) {
        self.cancel_at = None;
        self.cancel_reason = None;
    }

    fn restart(&mut self, end: OffsetDateTime, now: OffsetDateTime) {
        self.anchor_day = now.day();
        self.current_period_start = Some(now);
        self.current_period_end = Some(end);
    }

    /// Whole periods that passed while the instance was off are not billed: the next one is that which
    /// contains now.
    fn skip_suspended(&mut self, now: OffsetDateTime) {
        while let Some(end) = self.current_period_end {
            let next = self.billing_period.end(end, self.anchor_day);
            if next > now || next <= end {
                break;
            }
            self.current_period_start = Some(end);
            self.current_period_end = Some(next);
        }
    }
}

fn waiting(plan: &Plan, effective_at: Option<OffsetDateTime>) -> PendingChange {
    PendingChange {
        plan_name: plan.name.clone(),
        entitlement_version: plan.entitlement_version,
        effective_at,
        invoice_id: None,
    }
}

#[cfg(test)]
mod tests;
