//! Facts about money → mails (NTF-06).

use contracts::events::{Amount, BillingFact, topics};
use serde_json::Value;

use super::{moment, named};
use crate::templates::{
    BillingReminder, InvoiceCreated, InvoicePaid, OverduePayment, PaymentFailure, PaymentReceived,
    ServiceTerminated, SubscriptionCancelled, SubscriptionExpired, SubscriptionReactivated,
    SubscriptionUpgrade, TrialEnding,
};

/// Template and variables of a fact about money. A fact that lacks what its mail must show gives `None`: a
/// mail with gaps is worse than none.
pub fn announce_billing(topic: &str, fact: BillingFact) -> Option<(&'static str, Value)> {
    let amount = fact.amount.as_ref().map(text);
    let balance = fact.balance.as_ref().map(text);
    let due_at = fact.due_at.map(moment);
    let number = fact.invoice_number;
    let plan = fact.plan;
    match topic {
        topics::INVOICE_ISSUED => named(InvoiceCreated { number: number?, amount: amount?, plan, due_at }),
        topics::INVOICE_PAID => named(InvoicePaid { number: number?, amount: amount?, plan }),
        topics::PAYMENT_RECEIVED => named(PaymentReceived { amount: amount?, number, balance }),
        topics::PAYMENT_FAILED => named(PaymentFailure { amount: amount?, number, reason: fact.reason }),
        topics::INVOICE_REMINDER => {
            named(BillingReminder { number: number?, balance: balance.or(amount)?, due_at })
        }
        topics::OVERDUE => named(OverduePayment {
            number: number?,
            balance: balance.or(amount)?,
            due_at,
            days: fact.days.unwrap_or_default(),
            suspended: fact.reason.as_deref() == Some("suspended"),
            next_step_at: fact.next_step_at.map(moment),
        }),
        topics::TRIAL_ENDING => {
            named(TrialEnding { plan, days: fact.days?, ends_at: fact.ends_at.map(moment)? })
        }
        topics::SUBSCRIPTION_UPGRADED => {
            named(SubscriptionUpgrade { plan, previous_plan: fact.previous_plan, amount })
        }
        topics::SUBSCRIPTION_CANCELLED => {
            named(SubscriptionCancelled { plan, ends_at: fact.ends_at.map(moment) })
        }
        topics::SUBSCRIPTION_REACTIVATED => {
            named(SubscriptionReactivated { plan, number, balance, ends_at: fact.ends_at.map(moment) })
        }
        topics::SUBSCRIPTION_EXPIRED => named(SubscriptionExpired {
            plan,
            reason: fact.reason.unwrap_or_else(|| "the first payment did not arrive in time".into()),
        }),
        topics::SERVICE_TERMINATED => named(ServiceTerminated {
            plan,
            reason: fact.reason,
            retained_until: fact.retained_until.map(moment),
        }),
        _ => None,
    }
}

fn text(amount: &Amount) -> String {
    amount.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;
    use uuid::Uuid;

    fn fact() -> BillingFact {
        BillingFact {
            customer_id: Uuid::nil(),
            subscription_id: Some(Uuid::nil()),
            instance_id: Some(Uuid::nil()),
            plan: "basic-monthly".into(),
            previous_plan: None,
            invoice_id: Some(Uuid::nil()),
            invoice_number: Some("INV-000007".into()),
            amount: Some(Amount { minor: 900, currency: "USD".into() }),
            balance: Some(Amount { minor: 400, currency: "USD".into() }),
            due_at: Some(datetime!(2026-12-01 10:00 UTC)),
            ends_at: Some(datetime!(2026-12-07 10:00 UTC)),
            next_step_at: Some(datetime!(2026-12-15 10:00 UTC)),
            retained_until: Some(datetime!(2027-01-06 10:00 UTC)),
            days: Some(3),
            reason: None,
            occurred_at: datetime!(2026-11-23 10:00 UTC),
        }
    }

    /// NTF-06
    #[test]
    fn each_fact_about_money_has_its_mail() {
        let cases = [
            (topics::INVOICE_ISSUED, "invoice_created"),
            (topics::INVOICE_PAID, "invoice_paid"),
            (topics::PAYMENT_RECEIVED, "payment_received"),
            (topics::PAYMENT_FAILED, "payment_failure"),
            (topics::INVOICE_REMINDER, "billing_reminder"),
            (topics::OVERDUE, "overdue_payment"),
            (topics::TRIAL_ENDING, "trial_ending"),
            (topics::SUBSCRIPTION_UPGRADED, "subscription_upgrade"),
            (topics::SUBSCRIPTION_CANCELLED, "subscription_cancelled"),
            (topics::SUBSCRIPTION_REACTIVATED, "subscription_reactivated"),
            (topics::SUBSCRIPTION_EXPIRED, "subscription_expired"),
            (topics::SERVICE_TERMINATED, "service_terminated"),
        ];
        for (topic, template) in cases {
            let (name, variables) = announce_billing(topic, fact()).unwrap();
            assert_eq!(name, template, "{topic}");
            let entry = crate::templates::find(name).unwrap();
            let page = crate::templates::Page { brand: "S".into(), frontend_url: "http://s".into() };
            assert!(entry.check(variables, &page).is_ok(), "{topic}");
        }
        assert!(announce_billing(topics::SUBSCRIPTION_CREATED, fact()).is_none());
    }

    /// NTF-06, BIL-14: true amounts and dates, and the ladder's two mails differ.
    #[test]
    fn the_overdue_mail_tells_warning_from_suspension() {
        let (_, warning) = announce_billing(topics::OVERDUE, fact()).unwrap();
        let (_, suspended) =
            announce_billing(topics::OVERDUE, BillingFact { reason: Some("suspended".into()), ..fact() })
                .unwrap();
        assert_eq!(warning["balance"], "USD 4.00");
        assert_eq!(warning["next_step_at"], "2026-12-15 10:00 UTC");
        assert_eq!(
            (&warning["suspended"], &suspended["suspended"]),
            (&Value::Bool(false), &Value::Bool(true))
        );
    }

    /// NTF-06, BIL-25: an instance that waits for its payment is not said to be back, and the end of its
    /// period is the true one.
    #[test]
    fn the_mail_of_a_return_tells_whether_money_is_awaited() {
        let entry = crate::templates::find("subscription_reactivated").unwrap();
        let page = crate::templates::Page { brand: "S".into(), frontend_url: "http://s".into() };
        let to = crate::templates::Recipient { first_name: "Ada".into() };
        let text = |fact| {
            let (_, variables) = announce_billing(topics::SUBSCRIPTION_REACTIVATED, fact).unwrap();
            entry.render(variables, &to, &page).unwrap().text
        };
        let waits = text(fact());
        assert!(waits.contains("as soon as") && waits.contains("USD 4.00"), "{waits}");
        let back = text(BillingFact { balance: None, invoice_number: None, ..fact() });
        assert!(back.contains("comes back now") && back.contains("2026-12-07 10:00 UTC"), "{back}");
    }

    /// A mail with gaps is not sent.
    #[test]
    fn a_fact_without_its_amount_gives_no_mail() {
        assert!(announce_billing(topics::INVOICE_ISSUED, BillingFact { amount: None, ..fact() }).is_none());
    }
}
