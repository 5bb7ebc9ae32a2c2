//! States of a subscription, and what each of them allows.

use super::dunning::DunningState;
use super::money::Money;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

use time::{Duration, OffsetDateTime};

use super::period::BillingPeriod;

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Waits for its first payment (policy `on_payment`).
    Pending,
    /// Runs without a charge until the trial ends.
    Trialing,
    /// Runs.
    Active,
    /// An invoice is overdue; runs.
    PastDue,
    /// Off until the debts are paid.
    Suspended,
    /// Runs until its cancel date.
    Cancelling,
    /// Over.
    Ended,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Suspended,
        Self::Cancelling,
        Self::Ended,
    ];

    /// The word in SQL and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Suspended => "suspended",
            Self::Cancelling => "cancelling",
            Self::Ended => "ended",
        }
    }

    /// The instance's side of it. `owes`: a debt of the subscription is open, which may run all the same.
    pub fn billing_status(self, owes: bool) -> BillingStatus {
        match self {
            Self::Trialing => BillingStatus::Trial,
            Self::Active | Self::Cancelling if owes => BillingStatus::PaymentRequired,
            Self::Active | Self::Cancelling => BillingStatus::Paid,
            Self::Pending | Self::PastDue | Self::Suspended => BillingStatus::PaymentRequired,
            Self::Ended => BillingStatus::Closed,
        }
    }

    /// May the instance run now? `Err` is the reason word.
    pub fn may_run(self) -> Result<(), &'static str> {
        match self {
            // An overdue invoice stops nothing before the ladder says so (BIL-12, BIL-14).
            Self::Trialing | Self::Active | Self::PastDue | Self::Cancelling => Ok(()),
            Self::Pending | Self::Suspended => Err("payment_required"),
            Self::Ended => Err("subscription_ended"),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A state word that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown subscription status {0:?}")]
pub struct UnknownStatus(String);

impl FromStr for Status {
    type Err = UnknownStatus;
    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == word).ok_or_else(|| UnknownStatus(word.into()))
    }
}

/// What an instance shows of its billing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillingStatus {
    /// In its trial.
    Trial,
    /// Nothing is owed.
    Paid,
    /// A payment is awaited.
    PaymentRequired,
    /// The subscription is over.
    Closed,
}

impl BillingStatus {
    /// The word in answers and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trial => "trial",
            Self::Paid => "paid",
            Self::PaymentRequired => "payment_required",
            Self::Closed => "closed",
        }
    }
}

/// When provisioning may begin (BIL-13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProvisionPolicy {
    /// As soon as the subscription exists.
    #[value(name = "on_invoice")]
    OnInvoice,
    /// After the first payment, or in a trial.
    #[value(name = "on_payment")]
    OnPayment,
}

/// How a new subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beginning {
    /// First state.
    pub status: Status,
    /// End of the trial.
    pub trial_ends_at: Option<OffsetDateTime>,
    /// Day of the month on which periods begin.
    pub anchor_day: u8,
    /// First period: the trial, or the first paid one; none while a payment is awaited.
    pub period: Option<(OffsetDateTime, OffsetDateTime)>,
}

/// The first state of a subscription that is made at `now`. `trial_days` of `None`: no trial was granted.
pub fn begin(
    now: OffsetDateTime,
    period: BillingPeriod,
    trial_days: Option<u16>,
    policy: ProvisionPolicy,
) -> Beginning {
    match (trial_days, policy) {
        (Some(days), _) => {
            let end = now + Duration::days(i64::from(days));
            Beginning {
                status: Status::Trialing,
                trial_ends_at: Some(end),
                // Paid periods begin when the trial ends.
                anchor_day: end.day(),
                period: Some((now, end)),
            }
        }
        (None, ProvisionPolicy::OnInvoice) => Beginning {
            status: Status::Active,
            trial_ends_at: None,
            anchor_day: now.day(),
            period: Some((now, period.end(now, now.day()))),
        },
        (None, ProvisionPolicy::OnPayment) => {
            Beginning { status: Status::Pending, trial_ends_at: None, anchor_day: now.day(), period: None }
        }
    }
}

/// One word for all subscriptions of a customer: the worst that is live (profiles show it).
pub fn combined(statuses: impl IntoIterator<Item = Status>) -> &'static str {
    let live: Vec<Status> = statuses.into_iter().collect();
    [Status::Suspended, Status::PastDue, Status::Active, Status::Cancelling, Status::Trialing]
        .into_iter()
        .find(|status| live.contains(status))
        .map_or("none", |status| if status == Status::Cancelling { "active" } else { status.as_str() })
}

/// A subscription as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Our id.
    pub id: Uuid,
    /// Order that made it.
    pub order_id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// For which instance.
    pub instance_id: Uuid,
    /// Plan.
    pub plan_name: String,
    /// What the plan gave when it was bought.
    pub entitlement_version: i64,
    /// How often it is billed.
    pub billing_period: BillingPeriod,
    /// Price of a period.
    pub price: Money,
    /// Where it stands.
    pub status: Status,
    /// End of the trial.
    pub trial_ends_at: Option<OffsetDateTime>,
    /// Present period.
    pub current_period_start: Option<OffsetDateTime>,
    /// Present period.
    pub current_period_end: Option<OffsetDateTime>,
    /// Runs until then.
    pub cancel_at: Option<OffsetDateTime>,
    /// Over since.
    pub ended_at: Option<OffsetDateTime>,
    /// Why it ended.
    pub end_reason: Option<String>,
    /// Who keeps it.
    pub provider: String,
    /// The keeper's own id.
    pub provider_id: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// Day of the month on which periods begin.
    pub anchor_day: u8,
    /// How far the ladder is.
    pub dunning: DunningState,
    /// Since when.
    pub dunning_since: Option<OffsetDateTime>,
    /// A change of the plan that waits.
    pub pending: Option<PendingChange>,
    /// Why it was cancelled.
    pub cancel_reason: Option<String>,
    /// Discount code of the order.
    pub coupon: Option<String>,
}

/// A change of the plan that waits for its date or its invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingChange {
    /// To which plan.
    pub plan_name: String,
    /// What it gave when the change was asked for.
    pub entitlement_version: i64,
    /// A downgrade: then.
    pub effective_at: Option<OffsetDateTime>,
    /// An upgrade: when this is paid.
    pub invoice_id: Option<Uuid>,
}

impl Subscription {
    /// The present period is the trial.
    pub fn in_trial(&self) -> bool {
        self.trial_ends_at.is_some() && self.trial_ends_at == self.current_period_end
    }

    /// Nothing, in its currency.
    pub fn zero(&self) -> Money {
        Money::zero(self.price.currency())
    }

    /// The present period.
    pub fn period(&self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        self.current_period_start.zip(self.current_period_end)
    }

    /// What stopped it, in the words of the facts; `None` while it may run, and before its first payment.
    pub fn stopped_by(&self) -> Option<&str> {
        match self.status {
            // Nothing but the ladder suspends (BIL-14).
            Status::Suspended => Some("overdue"),
            Status::Ended => self.end_reason.as_deref(),
            Status::Pending | Status::Trialing | Status::Active | Status::PastDue | Status::Cancelling => {
                None
            }
        }
    }
}

/// What an operator's list shows.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionFilter {
    /// Only of this customer.
    pub customer_id: Option<Uuid>,
    /// Only in this state.
    pub status: Option<String>,
    /// Only on this step.
    pub dunning: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2027-01-31 12:00 UTC);

    /// BIL-13
    #[test]
    fn the_policy_decides_whether_an_unpaid_order_may_run() {
        let trial = begin(NOW, BillingPeriod::Monthly, Some(14), ProvisionPolicy::OnPayment);
        assert_eq!(trial.status, Status::Trialing);
        assert_eq!(trial.trial_ends_at, Some(datetime!(2027-02-14 12:00 UTC)));
        assert_eq!(trial.anchor_day, 14);
        assert!(trial.status.may_run().is_ok());

        let invoiced = begin(NOW, BillingPeriod::Monthly, None, ProvisionPolicy::OnInvoice);
        assert_eq!(invoiced.period, Some((NOW, datetime!(2027-02-28 12:00 UTC))));
        assert!(invoiced.status.may_run().is_ok());

        let unpaid = begin(NOW, BillingPeriod::Monthly, None, ProvisionPolicy::OnPayment);
        assert_eq!(unpaid.status.billing_status(false), BillingStatus::PaymentRequired);
        assert_eq!(unpaid.status.may_run(), Err("payment_required"));
    }

    /// BIL-12, BIL-23
    #[test]
    fn an_overdue_invoice_does_not_stop_an_instance_and_an_ended_subscription_does() {
        assert!(Status::PastDue.may_run().is_ok());
        assert!(Status::Cancelling.may_run().is_ok());
        assert_eq!(Status::Ended.may_run(), Err("subscription_ended"));
        assert_eq!(Status::Ended.billing_status(true), BillingStatus::Closed);
    }

    #[test]
    fn words_read_back() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
    }

    #[test]
    fn the_worst_live_state_is_shown() {
        assert_eq!(combined([]), "none");
        assert_eq!(combined([Status::Ended, Status::Pending]), "none");
        assert_eq!(combined([Status::Trialing, Status::Active]), "active");
        assert_eq!(combined([Status::Trialing, Status::Cancelling]), "active");
        assert_eq!(combined([Status::Active, Status::PastDue, Status::Suspended]), "suspended");
    }
}
