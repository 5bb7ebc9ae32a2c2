//! What can be wrong with the books, and between subscriptions and instances (BIL-33, BIL-37).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use uuid::Uuid;

use super::invoice::words;

words! {
    /// Kind of a finding.
    FindingKind, UnknownFindingKind, {
        /// An entry whose lines do not sum to nothing, or that has none.
        JournalUnbalanced = "journal_unbalanced",
        /// An invoice whose sums are not those of its lines or of its entry.
        TotalDiffers = "total_differs",
        /// An invoice whose balance is not what the journal says.
        BalanceDiffers = "balance_differs",
        /// A payment whose money the journal does not have, or has too much of.
        PaymentDiffers = "payment_differs",
        /// A customer whose credit is another one in the journal.
        CreditDiffers = "credit_differs",
        /// Numbers of invoices that are missing.
        NumberMissing = "number_missing",
        /// A live subscription whose instance is gone.
        SubscriptionWithoutInstance = "subscription_without_instance",
        /// A live instance that nobody pays for.
        InstanceWithoutSubscription = "instance_without_subscription",
    }
}

impl PartialOrd for FindingKind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FindingKind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// With which entry, invoice, payment, subscription, instance.
    pub subject_id: Option<Uuid>,
    /// Whose.
    pub customer_id: Option<Uuid>,
    /// What tells two of one kind and subject apart: a currency, an issuer; mostly empty.
    pub scope: String,
    /// For operators.
    pub detail: String,
}

/// How many of each kind; kinds of which there are none are there with 0, so that an alert ends.
pub fn counts(findings: &[Finding]) -> BTreeMap<FindingKind, i64> {
    let mut counts: BTreeMap<FindingKind, i64> = FindingKind::ALL.iter().map(|kind| (*kind, 0)).collect();
    for finding in findings {
        *counts.entry(finding.kind).or_default() += 1;
    }
    counts
}

/// A live instance, as instance-service lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveInstance {
    /// The instance.
    pub id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// What pays for it.
    pub subscription_id: Option<Uuid>,
}

/// A subscription that must have an instance, or that pays for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveSubscription {
    /// The subscription.
    pub id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// For which instance.
    pub instance_id: Uuid,
    /// Its instance was announced, and it does not wait for its payment: there must be one.
    pub must_have: bool,
}

/// Compares both lists, both ways.
pub fn compare(subscriptions: &[LiveSubscription], instances: &[LiveInstance]) -> Vec<Finding> {
    let running: std::collections::HashSet<Uuid> =
        instances.iter().filter_map(|instance| instance.subscription_id).collect();
    let paying: std::collections::HashSet<Uuid> =
        subscriptions.iter().map(|subscription| subscription.id).collect();
    let orphans = subscriptions
        .iter()
        .filter(|subscription| subscription.must_have && !running.contains(&subscription.id))
        .map(|subscription| Finding {
            kind: FindingKind::SubscriptionWithoutInstance,
            subject_id: Some(subscription.id),
            customer_id: Some(subscription.customer_id),
            scope: String::new(),
            detail: format!("instance {} is not live", subscription.instance_id),
        });
    let unpaid = instances
        .iter()
        .filter(|instance| instance.subscription_id.is_none_or(|id| !paying.contains(&id)))
        .map(|instance| Finding {
            kind: FindingKind::InstanceWithoutSubscription,
            subject_id: Some(instance.id),
            customer_id: Some(instance.customer_id),
            scope: String::new(),
            detail: match instance.subscription_id {
                Some(id) => format!("subscription {id} is not live"),
                None => "it has no subscription".to_owned(),
            },
        });
    orphans.chain(unpaid).collect()
}

/// A finding and its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFinding {
    /// Row.
    pub id: Uuid,
    /// What.
    pub kind: String,
    /// With which thing.
    pub subject_id: Option<Uuid>,
    /// Whose.
    pub customer_id: Option<Uuid>,
    /// As the last run saw it.
    pub detail: String,
    /// The run that found it first.
    pub first_seen_at: OffsetDateTime,
    /// The last one that found it.
    pub last_seen_at: OffsetDateTime,
    /// The first one after that which did not.
    pub resolved_at: Option<OffsetDateTime>,
    /// Somebody knows of it since.
    pub acknowledged_at: Option<OffsetDateTime>,
    /// Who.
    pub acknowledged_by: String,
    /// What they say.
    pub acknowledge_reason: String,
}

/// A run of the audit.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRun {
    /// Row.
    pub id: Uuid,
    /// schedule, or `task:` and the task.
    pub cause: String,
    /// running, done, failed
    pub state: String,
    /// By kind.
    pub counts: serde_json::Value,
    /// Why it failed.
    pub reason: String,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
}

/// Which ones.
#[derive(Debug, Clone, Default)]
pub struct FindingFilter {
    /// Open ones, or resolved ones.
    pub open: Option<bool>,
    /// Of a kind.
    pub kind: Option<String>,
    /// Of a customer.
    pub customer_id: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    proptest! {
        /// BIL-37: pairs are never reported, and everything without its other half is, once and under its
        /// kind.
        #[test]
        fn what_has_no_other_half_is_found(pairs in 0_u128..20, lonely in 0_u128..20, unpaid in 0_u128..20, waiting in 0_u128..20) {
            let subscription = |number: u128, must_have| LiveSubscription { id: id(number), customer_id: id(1), instance_id: id(2), must_have };
            let instance = |number: u128, pays: Option<u128>| LiveInstance { id: id(number), customer_id: id(1), subscription_id: pays.map(id) };
            let mut subscriptions: Vec<_> = (0..pairs).map(|n| subscription(1000 + n, true)).collect();
            subscriptions.extend((0..lonely).map(|n| subscription(2000 + n, true)));
            // Orders that wait: nothing is missing yet.
            subscriptions.extend((0..waiting).map(|n| subscription(3000 + n, false)));
            let mut instances: Vec<_> = (0..pairs).map(|n| instance(5000 + n, Some(1000 + n))).collect();
            instances.extend((0..unpaid).map(|n| instance(6000 + n, (n % 2 == 0).then_some(9000 + n))));
            let found = counts(&compare(&subscriptions, &instances));
            prop_assert_eq!(found[&FindingKind::SubscriptionWithoutInstance], i64::try_from(lonely).unwrap());
            prop_assert_eq!(found[&FindingKind::InstanceWithoutSubscription], i64::try_from(unpaid).unwrap());
            prop_assert_eq!(found.values().sum::<i64>(), i64::try_from(lonely + unpaid).unwrap());
        }
    }
}
