//! Facts about money → mails (NTF-06).

use contracts::events::{Amount, BillingFact, topics};

use super::words::{Announced, end_of, moment, named};
use crate::templates::{
    BillingReminder, InvoiceCreated, InvoicePaid, OverduePayment, PaymentFailure, PaymentReceived,
    ServiceTerminated, SubscriptionCancelled, SubscriptionExpired, SubscriptionReactivated,
    SubscriptionUpgrade, TrialEnding,
};

/// Template and variables of a fact about money. A fact that lacks what its mail must show gives `None`: a
/// mail with gaps is worse than none.
pub fn announce_billing(topic: &str, fact: BillingFact) -> Option<Announced> {
    let is_settled = fact.balance.as_ref().is_some_and(|balance| balance.minor == 0);
    // The payment that settles an invoice, and that it is settled, are one thing to its buyer.
    let settled =
        fact.invoice_id.map(|invoice| format!("paid:{invoice}:{}", fact.occurred_at.unix_timestamp_nanos()));
    let ended = fact.subscription_id.map(end_of);
    let amount = fact.amount.as_ref().map(text);
    let balance = fact.balance.as_ref().map(text);
    let due_at = fact.due_at.map(moment);
    let number = fact.invoice_number;
    let plan = fact.plan;
    let mail = match topic {
        topics::INVOICE_ISSUED => named(InvoiceCreated { number: number?, amount: amount?, plan, due_at }),
        topics::INVOICE_PAID => named(InvoicePaid { number: number?, amount: amount?, plan }),
        topics::PAYMENT_RECEIVED if is_settled && number.is_some() => {
            named(InvoicePaid { number: number?, amount: amount?, plan })
        }
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
            // One that ends at once does not run until then.
            let ends_at = fact.ends_at.filter(|end| *end > fact.occurred_at).map(moment);
            named(SubscriptionCancelled { plan, ends_at })
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
            reason: fact.reason.as_deref().map(in_words),
            retained_until: fact.retained_until.map(moment),
        }),
        _ => None,
    };
    let tells = match topic {
        topics::INVOICE_PAID => settled,
        topics::PAYMENT_RECEIVED if is_settled => settled,
        topics::SERVICE_TERMINATED | topics::SUBSCRIPTION_EXPIRED => ended,
        _ => None,
    };
    mail.map(|mail| Announced { tells, ..Announced::new(mail) })
}

/// Why a service ended, for its customer.
fn in_words(reason: &str) -> String {
    match reason {
        "cancelled" => "The subscription was cancelled.".to_owned(),
        "overdue" => "An invoice was not paid in time.".to_owned(),
        "terminated" => "The instance was terminated.".to_owned(),
        text => text.to_owned(),
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
            let Announced { template: name, variables, .. } = announce_billing(topic, fact()).unwrap();
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
        let warning = announce_billing(topics::OVERDUE, fact()).unwrap().variables;
        let suspended = BillingFact { reason: Some("suspended".into()), ..fact() };
        let suspended = announce_billing(topics::OVERDUE, suspended).unwrap().variables;
        assert_eq!(warning["balance"], "USD 4.00");
        assert_eq!(warning["next_step_at"], "2026-12-15 10:00 UTC");
        assert_eq!(
            (&warning["suspended"], &suspended["suspended"]),
            (&serde_json::Value::Bool(false), &serde_json::Value::Bool(true))
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
            let variables = announce_billing(topics::SUBSCRIPTION_REACTIVATED, fact).unwrap().variables;
            entry.render(variables, &to, &page).unwrap().text
        };
        let waits = text(fact());
        assert!(waits.contains("as soon as") && waits.contains("USD 4.00"), "{waits}");
        let back = text(BillingFact { balance: None, invoice_number: None, ..fact() });
        assert!(back.contains("comes back now") && back.contains("2026-12-07 10:00 UTC"), "{back}");
    }

    /// A payment that settles its invoice is one mail, whichever of the two facts comes first; a part of it
    /// and an invoice that credit settles have their own.
    #[test]
    fn what_settles_an_invoice_is_told_once() {
        let nothing = || Some(Amount { minor: 0, currency: "USD".into() });
        let payment =
            announce_billing(topics::PAYMENT_RECEIVED, BillingFact { balance: nothing(), ..fact() }).unwrap();
        let paid =
            announce_billing(topics::INVOICE_PAID, BillingFact { balance: nothing(), ..fact() }).unwrap();
        assert_eq!((payment.template, &payment.tells), (paid.template, &paid.tells));
        assert!(paid.tells.is_some());
        let part = announce_billing(topics::PAYMENT_RECEIVED, fact()).unwrap();
        assert_eq!((part.template, part.tells), ("payment_received", None));
    }

    /// A subscription that ends takes its instance with it: the second fact gives no second mail.
    #[test]
    fn the_end_is_told_once() {
        let ended = announce_billing(
            topics::SERVICE_TERMINATED,
            BillingFact { reason: Some("cancelled".into()), ..fact() },
        )
        .unwrap();
        assert_eq!(ended.variables["reason"], "The subscription was cancelled.");
        assert_eq!(ended.tells, Some(end_of(Uuid::nil())));
    }

    /// What ends at once is not said to run until then.
    #[test]
    fn a_cancellation_says_when_it_ends() {
        let of = |ends_at| {
            announce_billing(topics::SUBSCRIPTION_CANCELLED, BillingFact { ends_at, ..fact() })
                .unwrap()
                .variables
        };
        assert_eq!(of(Some(fact().occurred_at))["ends_at"], serde_json::Value::Null);
        assert_eq!(of(fact().ends_at)["ends_at"], "2026-12-07 10:00 UTC");
    }

    /// A mail with gaps is not sent.
    #[test]
    fn a_fact_without_its_amount_gives_no_mail() {
        assert!(announce_billing(topics::INVOICE_ISSUED, BillingFact { amount: None, ..fact() }).is_none());
    }
}
