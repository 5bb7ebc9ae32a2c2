//! Facts of the bus → mails (NTF-03…06). A topic without a mail gives `None`.

mod billing;

use contracts::events::{CustomerFact, InstanceFact, topics};
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::templates::{
    InstanceDeleted, InstanceProvisioningFailed, InstanceProvisioningStarted, InstanceReady, InstanceResumed,
    InstanceStarted, InstanceStopped, InstanceSuspended, LoginBlocked, Mail, PasswordChanged, Welcome,
};

pub use billing::announce_billing;

/// What provisioning usually needs at most (REL-12).
const ESTIMATE_MINUTES: u32 = 3;

/// Template and variables of a fact on an account.
pub fn announce_customer(topic: &str, fact: CustomerFact) -> Option<(&'static str, Value)> {
    match topic {
        topics::CUSTOMER_VERIFIED => named(Welcome {}),
        topics::CUSTOMER_PASSWORD_CHANGED => named(PasswordChanged { changed_at: moment(fact.occurred_at) }),
        topics::CUSTOMER_LOGIN_BLOCKED => {
            named(LoginBlocked { blocked_at: moment(fact.occurred_at), detail: fact.detail })
        }
        _ => None,
    }
}

/// Template and variables of a fact on an instance.
pub fn announce_instance(topic: &str, fact: InstanceFact) -> Option<(&'static str, Value)> {
    let (name, url) = (fact.name, fact.external_url);
    match topic {
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
        topics::INSTANCE_SUSPENDED => named(InstanceSuspended { name, reason: fact.reason }),
        topics::INSTANCE_RESUMED => named(InstanceResumed { name, url }),
        topics::INSTANCE_TERMINATED => {
            named(InstanceDeleted { name, purge_after: fact.purge_after.map(moment) })
        }
        _ => None,
    }
}

fn named<M: Mail>(mail: M) -> Option<(&'static str, Value)> {
    serde_json::to_value(mail).ok().map(|variables| (M::NAME, variables))
}

/// A time as a mail shows it.
fn moment(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(format_description!("[year]-[month]-[day] [hour]:[minute] UTC"))
        .unwrap_or_default()
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
            assert_eq!(announce_instance(topic, fact()).map(|(name, _)| name), template, "{topic}");
        }
        let (_, deleted) = announce_instance(topics::INSTANCE_TERMINATED, fact()).unwrap();
        assert_eq!(deleted["purge_after"], "2026-12-23 10:00 UTC");
    }

    /// NTF-05
    #[test]
    fn facts_on_accounts_have_their_mails() {
        let fact = || CustomerFact {
            customer_id: Uuid::nil(),
            occurred_at: datetime!(2026-11-23 10:00 UTC),
            detail: Some("until 10:15".into()),
        };
        let name = |topic| announce_customer(topic, fact()).map(|(name, _)| name);
        assert_eq!(name(topics::CUSTOMER_VERIFIED), Some("welcome"));
        assert_eq!(name(topics::CUSTOMER_PASSWORD_CHANGED), Some("password_changed"));
        assert_eq!(name(topics::CUSTOMER_LOGIN_BLOCKED), Some("login_blocked"));
        assert_eq!(name(topics::CUSTOMER_REGISTERED), None);
    }
}
