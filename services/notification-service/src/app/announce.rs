//! Facts of the bus → mails (NTF-03…06). A topic without a mail gives `None`.

mod billing;
mod words;

use contracts::events::{CustomerFact, InstanceFact, topics};

use crate::templates::{
    InstanceDeleted, InstanceProvisioningFailed, InstanceProvisioningStarted, InstanceReady, InstanceResumed,
    InstanceStarted, InstanceStopped, InstanceSuspended, LoginBlocked, PasswordChanged, Welcome,
};

use words::{end_of, moment, named};

pub use billing::announce_billing;
pub use words::Announced;

/// What provisioning usually needs at most (REL-12).
const ESTIMATE_MINUTES: u32 = 3;

/// Why an instance is suspended when billing's mail on the debt tells it already, with invoice and dates.
const OVERDUE: &str = "an invoice is overdue";

/// Template and variables of a fact on an account.
pub fn announce_customer(topic: &str, fact: CustomerFact) -> Option<Announced> {
    let mail = match topic {
        topics::CUSTOMER_VERIFIED => named(Welcome {}),
        topics::CUSTOMER_PASSWORD_CHANGED => named(PasswordChanged { changed_at: moment(fact.occurred_at) }),
        topics::CUSTOMER_LOGIN_BLOCKED => {
            named(LoginBlocked { blocked_at: moment(fact.occurred_at), detail: fact.detail })
        }
        _ => None,
    };
    mail.map(Announced::new)
}

/// Template and variables of a fact on an instance.
pub fn announce_instance(topic: &str, fact: InstanceFact) -> Option<Announced> {
    let subscription = fact.subscription_id;
    let (name, url) = (fact.name, fact.external_url);
    let mail = match topic {
        topics::INSTANCE_PROVISIONING_STARTED => named(InstanceProvisioningStarted {
            name,
            url,
            plan: fact.plan,
            estimate_minutes: ESTIMATE_MINUTES,
        }),
        topics::INSTANCE_READY => {
            named(InstanceReady { name, url, admin_email: fact.admin_email, instance_id: fact.instance_id })
        }
        topics::INSTANCE_PROVISIONING_FAILED => named(InstanceProvisioningFailed {
            name,
            reason: fact.reason.unwrap_or_else(|| "Something went wrong on our side.".into()),
        }),
        topics::INSTANCE_STARTED => named(InstanceStarted { name, url }),
        topics::INSTANCE_STOPPED => named(InstanceStopped { name, reason: fact.reason }),
        topics::INSTANCE_SUSPENDED if fact.reason.as_deref() == Some(OVERDUE) => None,
        topics::INSTANCE_SUSPENDED => named(InstanceSuspended { name, reason: fact.reason }),
        topics::INSTANCE_RESUMED => named(InstanceResumed { name, url }),
        topics::INSTANCE_TERMINATED => {
            named(InstanceDeleted { name, purge_after: fact.purge_after.map(moment) })
        }
        _ => None,
    };
    let unless = subscription.filter(|_| topic == topics::INSTANCE_TERMINATED).map(end_of);
    mail.map(|mail| Announced { unless, ..Announced::new(mail) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;
    use uuid::Uuid;

    fn fact() -> InstanceFact {
        InstanceFact {
            instance_id: Uuid::nil(),
            customer_id: Uuid::nil(),
            subscription_id: None,
            name: "Shop".into(),
            external_url: "http://shop.localhost".into(),
            admin_email: "a@example.com".into(),
            plan: "basic-monthly".into(),
            operation_id: None,
            reason: Some("why".into()),
            purge_after: Some(datetime!(2026-12-23 10:00 UTC)),
            occurred_at: datetime!(2026-11-23 10:00 UTC),
        }
    }

    /// NTF-03, NTF-04
    #[test]
    fn each_fact_has_its_mail() {
        let cases = [
            (topics::INSTANCE_PROVISIONING_STARTED, Some("instance_provisioning_started")),
            (topics::INSTANCE_READY, Some("instance_ready")),
            (topics::INSTANCE_PROVISIONING_FAILED, Some("instance_provisioning_failed")),
            (topics::INSTANCE_STARTED, Some("instance_started")),
            (topics::INSTANCE_STOPPED, Some("instance_stopped")),
            (topics::INSTANCE_SUSPENDED, Some("instance_suspended")),
            (topics::INSTANCE_RESUMED, Some("instance_resumed")),
            (topics::INSTANCE_TERMINATED, Some("instance_deleted")),
            (topics::INSTANCE_RESTARTED, None),
            (topics::INSTANCE_PURGED, None),
        ];
        for (topic, template) in cases {
            assert_eq!(announce_instance(topic, fact()).map(|mail| mail.template), template, "{topic}");
        }
        let deleted = announce_instance(topics::INSTANCE_TERMINATED, fact()).unwrap();
        assert_eq!(deleted.variables["purge_after"], "2026-12-23 10:00 UTC");
    }

    /// A debt suspends: billing's mail says so, with the invoice. Every other suspension has its own mail.
    #[test]
    fn a_suspension_for_a_debt_is_told_once() {
        let suspended = |reason: &str| {
            announce_instance(
                topics::INSTANCE_SUSPENDED,
                InstanceFact { reason: Some(reason.into()), ..fact() },
            )
        };
        assert_eq!(suspended(OVERDUE), None);
        assert!(suspended("a payment is due").is_some() && suspended("abuse").is_some());
        // The words are those of instance-service.
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../instance-service/src/app/subscriptions.rs");
        let source = std::fs::read_to_string(source).unwrap();
        assert!(source.contains(&format!("\"overdue\" => {OVERDUE:?}")));
    }

    /// NTF-05
    #[test]
    fn facts_on_accounts_have_their_mails() {
        let fact = || CustomerFact {
            customer_id: Uuid::nil(),
            occurred_at: datetime!(2026-11-23 10:00 UTC),
            detail: Some("until 10:15".into()),
        };
        let name = |topic| announce_customer(topic, fact()).map(|mail| mail.template);
        assert_eq!(name(topics::CUSTOMER_VERIFIED), Some("welcome"));
        assert_eq!(name(topics::CUSTOMER_PASSWORD_CHANGED), Some("password_changed"));
        assert_eq!(name(topics::CUSTOMER_LOGIN_BLOCKED), Some("login_blocked"));
        assert_eq!(name(topics::CUSTOMER_REGISTERED), None);
    }
}
