//! Mails about money (NTF-06). They show the dates of the billing clock and link to the pages where one can
//! pay.

use askama::Template;
use serde::{Deserialize, Serialize};

use crate::domain::Category;
use crate::templates::define::ByTemplate;
use crate::templates::mail::{Entry, Mail, Page, Recipient};

fn sample_number() -> String {
    "INV-000042".into()
}

fn sample_amount() -> String {
    "USD 9.00".into()
}

fn sample_plan() -> String {
    "basic-monthly".into()
}

mail! {
    /// An invoice was issued.
    InvoiceCreated {
        name: "invoice_created", category: Billing, html: "invoice_created.html", text: "invoice_created.txt",
        subject: |mail, page| format!("Invoice {} of {}: {}", mail.number, page.brand, mail.amount),
        /// Number of the invoice.
        number: String = sample_number(),
        /// Total, as text.
        amount: String = sample_amount(),
        /// Plan name.
        plan: String = sample_plan(),
        /// When it is due, as text.
        #[serde(default)]
        due_at: Option<String> = Some("2026-12-01 10:00 UTC".into()),
    }
}

mail! {
    /// An invoice has no balance left.
    InvoicePaid {
        name: "invoice_paid", category: Billing, html: "invoice_paid.html", text: "invoice_paid.txt",
        subject: |mail, _page| format!("Invoice {} is paid", mail.number),
        /// Number of the invoice.
        number: String = sample_number(),
        /// What was paid, as text.
        amount: String = sample_amount(),
        /// Plan name.
        plan: String = sample_plan(),
    }
}

mail! {
    /// Money arrived.
    PaymentReceived {
        name: "payment_received", category: Billing, html: "payment_received.html", text: "payment_received.txt",
        subject: |mail, _page| format!("We received your payment of {}", mail.amount),
        /// What arrived, as text.
        amount: String = sample_amount(),
        /// Invoice that it was for.
        #[serde(default)]
        number: Option<String> = Some(sample_number()),
        /// What is left of that invoice, as text.
        #[serde(default)]
        balance: Option<String> = Some("USD 0.00".into()),
    }
}

mail! {
    /// A payment failed.
    PaymentFailure {
        name: "payment_failure", category: Billing, html: "payment_failure.html", text: "payment_failure.txt",
        subject: |mail, _page| format!("Your payment of {} did not work", mail.amount),
        /// What should have been paid, as text.
        amount: String = sample_amount(),
        /// Invoice that it was for.
        #[serde(default)]
        number: Option<String> = Some(sample_number()),
        /// Reason that is safe to show.
        #[serde(default)]
        reason: Option<String> = Some("The payment was declined.".into()),
    }
}

mail! {
    /// An open invoice is, or will soon be, due.
    BillingReminder {
        name: "billing_reminder", category: Billing, html: "billing_reminder.html", text: "billing_reminder.txt",
        subject: |mail, _page| format!("Invoice {} is open: {}", mail.number, mail.balance),
        /// Number of the invoice.
        number: String = sample_number(),
        /// What is left to pay, as text.
        balance: String = sample_amount(),
        /// When it is due, as text.
        #[serde(default)]
        due_at: Option<String> = Some("2026-12-01 10:00 UTC".into()),
    }
}

mail! {
    /// The ladder warned or suspended (BIL-14).
    OverduePayment {
        name: "overdue_payment", category: Billing, html: "overdue_payment.html", text: "overdue_payment.txt",
        subject: |mail, _page| if mail.suspended {
            format!("Your instance was suspended: invoice {} is overdue", mail.number)
        } else {
            format!("Invoice {} is overdue", mail.number)
        },
        /// Number of the oldest overdue invoice.
        number: String = sample_number(),
        /// What is left to pay, as text.
        balance: String = sample_amount(),
        /// When it was due, as text.
        #[serde(default)]
        due_at: Option<String> = Some("2026-12-01 10:00 UTC".into()),
        /// Days since then.
        days: u32 = 10,
        /// The instance is off.
        suspended: bool = false,
        /// When the next step follows, as text.
        #[serde(default)]
        next_step_at: Option<String> = Some("2026-12-15 10:00 UTC".into()),
    }
}

mail! {
    /// The trial ends soon (BIL-11).
    TrialEnding {
        name: "trial_ending", category: Billing, html: "trial_ending.html", text: "trial_ending.txt",
        subject: |mail, _page| format!("Your trial ends {}", mail.when()),
        /// Plan that follows.
        plan: String = sample_plan(),
        /// Days left.
        days: u32 = 3,
        /// When it ends, as text.
        ends_at: String = "2026-12-07 10:00 UTC".into(),
    }
}

impl TrialEnding {
    /// `in 3 days`, `tomorrow`, `today`.
    pub fn when(&self) -> String {
        match self.days {
            0 => "today".into(),
            1 => "tomorrow".into(),
            days => format!("in {days} days"),
        }
    }
}

mail! {
    /// The plan changed upwards.
    SubscriptionUpgrade {
        name: "subscription_upgrade", category: Billing, html: "subscription_upgrade.html", text: "subscription_upgrade.txt",
        subject: |mail, _page| format!("Your plan is {} now", mail.plan),
        /// Plan now.
        plan: String = "standard-monthly".into(),
        /// Plan before.
        #[serde(default)]
        previous_plan: Option<String> = Some(sample_plan()),
        /// What was charged for the change, as text.
        #[serde(default)]
        amount: Option<String> = Some("USD 5.00".into()),
    }
}

mail! {
    /// A cancellation was asked for (BIL-24).
    SubscriptionCancelled {
        name: "subscription_cancelled", category: Billing,
        html: "subscription_cancelled.html", text: "subscription_cancelled.txt",
        subject: |mail, _page| format!("Your subscription {} is cancelled", mail.plan),
        /// Plan name.
        plan: String = sample_plan(),
        /// When the instance ends, as text; none: now.
        #[serde(default)]
        ends_at: Option<String> = Some("2026-12-31 10:00 UTC".into()),
    }
}

mail! {
    /// A terminated instance has a new subscription (BIL-25).
    SubscriptionReactivated {
        name: "subscription_reactivated", category: Billing,
        html: "subscription_reactivated.html", text: "subscription_reactivated.txt",
        subject: |mail, _page| if mail.balance.is_some() {
            "Your instance comes back when its invoice is paid".to_owned()
        } else {
            "Your instance comes back".to_owned()
        },
        /// Plan name.
        plan: String = sample_plan(),
        /// Its first invoice.
        #[serde(default)]
        number: Option<String> = Some(sample_number()),
        /// What must be paid first, as text; none: nothing.
        #[serde(default)]
        balance: Option<String> = None,
        /// When its first period ends, as text; none: that is not known before it is paid.
        #[serde(default)]
        ends_at: Option<String> = Some("2026-12-31 10:00 UTC".into()),
    }
}

mail! {
    /// An order was never paid.
    SubscriptionExpired {
        name: "subscription_expired", category: Billing, html: "subscription_expired.html", text: "subscription_expired.txt",
        subject: |mail, _page| format!("Your order of {} has expired", mail.plan),
        /// Plan name.
        plan: String = sample_plan(),
        /// Reason that is safe to show; it completes "because …".
        reason: String = "the first payment did not arrive in time".into(),
    }
}

mail! {
    /// The service of a subscription ended (BIL-24).
    ServiceTerminated {
        name: "service_terminated", category: Billing, html: "service_terminated.html", text: "service_terminated.txt",
        subject: |mail, _page| format!("Your service {} has ended", mail.plan),
        /// Plan name.
        plan: String = sample_plan(),
        /// Reason that is safe to show.
        #[serde(default)]
        reason: Option<String> = Some("The subscription was cancelled.".into()),
        /// Until when the data is kept, as text.
        #[serde(default)]
        retained_until: Option<String> = Some("2027-01-30 10:00 UTC".into()),
    }
}
