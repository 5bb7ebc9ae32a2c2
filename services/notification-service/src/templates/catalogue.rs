//! The table of mails. A new mail is an entry here and two files in `templates/`.

use askama::Template;
use serde::{Deserialize, Serialize};

use super::define::ByTemplate;
use super::mail::{Entry, Mail, Page, Recipient};
use crate::domain::Category;

mod billing;

pub use billing::{
    BillingReminder, InvoiceCreated, InvoicePaid, OverduePayment, PaymentFailure, PaymentReceived,
    ServiceTerminated, SubscriptionCancelled, SubscriptionExpired, SubscriptionReactivated,
    SubscriptionUpgrade, TrialEnding,
};

fn sample_name() -> String {
    "Example shop".into()
}

fn sample_url() -> String {
    "https://example-shop.saasodoo.example".into()
}

fn a_day() -> u32 {
    24
}

fn an_hour() -> u32 {
    1
}

mail! {
    /// The address was verified.
    Welcome {
        name: "welcome", category: Account, html: "welcome.html", text: "welcome.txt",
        subject: |_mail, page| format!("Welcome to {}", page.brand),
    }
}

mail! {
    /// Proves that the address belongs to the account.
    EmailVerification {
        name: "email_verification", category: Security, html: "email_verification.html", text: "email_verification.txt",
        subject: |_mail, page| format!("Confirm your e-mail address for {}", page.brand),
        /// Single-use token.
        token: String = "example-token-of-a-preview-0123456789".into(),
        /// How long the token is good.
        #[serde(default = "a_day")]
        valid_hours: u32 = 24,
    }
}

mail! {
    /// Somebody registered with an address that has an account already (USR-02).
    AccountExists {
        name: "account_exists", category: Security, html: "account_exists.html", text: "account_exists.txt",
        subject: |_mail, page| format!("You already have an account at {}", page.brand),
    }
}

mail! {
    /// Lets the owner choose a new password.
    PasswordReset {
        name: "password_reset", category: Security, html: "password_reset.html", text: "password_reset.txt",
        subject: |_mail, page| format!("Choose a new password for {}", page.brand),
        /// Single-use token.
        token: String = "example-token-of-a-preview-0123456789".into(),
        /// How long the token is good.
        #[serde(default = "an_hour")]
        valid_hours: u32 = 1,
    }
}

mail! {
    /// The password was changed.
    PasswordChanged {
        name: "password_changed", category: Security, html: "password_changed.html", text: "password_changed.txt",
        subject: |_mail, page| format!("Your {} password was changed", page.brand),
        /// When, as text.
        changed_at: String = "2026-11-23 10:00 UTC".into(),
    }
}

mail! {
    /// Log-ins are refused for a while after failures.
    LoginBlocked {
        name: "login_blocked", category: Security, html: "login_blocked.html", text: "login_blocked.txt",
        subject: |_mail, page| format!("Log-in to {} is blocked for a while", page.brand),
        /// When, as text.
        blocked_at: String = "2026-11-23 10:00 UTC".into(),
        /// What is known: how long, from where.
        #[serde(default)]
        detail: Option<String> = Some("Blocked until 2026-11-23 10:15 UTC.".into()),
    }
}

mail! {
    /// Provisioning began.
    InstanceProvisioningStarted {
        name: "instance_provisioning_started", category: Instance,
        html: "instance_provisioning_started.html", text: "instance_provisioning_started.txt",
        subject: |mail, _page| format!("{} is being prepared", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Where it will be.
        url: String = sample_url(),
        /// Plan name.
        plan: String = "basic-monthly".into(),
        /// How long it takes, at most, usually.
        estimate_minutes: u32 = 3,
    }
}

mail! {
    /// The instance runs for the first time.
    InstanceReady {
        name: "instance_ready", category: Instance, html: "instance_ready.html", text: "instance_ready.txt",
        subject: |mail, _page| format!("{} is ready", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Where it is.
        url: String = sample_url(),
        /// Log-in of its administrator; the password is behind a link, never in a mail (INS-37).
        admin_email: String = "admin@example.com".into(),
        /// For the link that reveals the password once.
        instance_id: uuid::Uuid = uuid::Uuid::from_u128(0x0193_5a5e_0000_7000_8000_0000_0000_0001),
    }
}

mail! {
    /// Provisioning ended without an instance.
    InstanceProvisioningFailed {
        name: "instance_provisioning_failed", category: Instance,
        html: "instance_provisioning_failed.html", text: "instance_provisioning_failed.txt",
        subject: |mail, _page| format!("{} could not be prepared", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Reason that is safe to show.
        reason: String = "The image of this version could not be loaded.".into(),
    }
}

mail! {
    /// It runs again.
    InstanceStarted {
        name: "instance_started", category: Instance, html: "instance_started.html", text: "instance_started.txt",
        subject: |mail, _page| format!("{} was started", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Where it is.
        url: String = sample_url(),
    }
}

mail! {
    /// It was stopped; the data is kept.
    InstanceStopped {
        name: "instance_stopped", category: Instance, html: "instance_stopped.html", text: "instance_stopped.txt",
        subject: |mail, _page| format!("{} was stopped", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Why, when it is known.
        #[serde(default)]
        reason: Option<String> = Some("Maintenance at the weekend".into()),
    }
}

mail! {
    /// Off for billing or abuse; the data is kept.
    InstanceSuspended {
        name: "instance_suspended", category: Instance, html: "instance_suspended.html", text: "instance_suspended.txt",
        subject: |mail, _page| format!("{} was suspended", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Why, when it is known.
        #[serde(default)]
        reason: Option<String> = Some("An invoice is overdue.".into()),
    }
}

mail! {
    /// Back after suspension.
    InstanceResumed {
        name: "instance_resumed", category: Instance, html: "instance_resumed.html", text: "instance_resumed.txt",
        subject: |mail, _page| format!("{} is back", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Where it is.
        url: String = sample_url(),
    }
}

mail! {
    /// Deleted; the data is kept for the retention.
    InstanceDeleted {
        name: "instance_deleted", category: Instance, html: "instance_deleted.html", text: "instance_deleted.txt",
        subject: |mail, _page| format!("{} was deleted", mail.name),
        /// Display name.
        name: String = sample_name(),
        /// Until when the data can be brought back, as text.
        #[serde(default)]
        purge_after: Option<String> = Some("2026-12-23 10:00 UTC".into()),
    }
}

/// Every mail that exists.
pub static TEMPLATES: &[Entry] = &[
    Entry::of::<Welcome>(),
    Entry::of::<EmailVerification>(),
    Entry::of::<AccountExists>(),
    Entry::of::<PasswordReset>(),
    Entry::of::<PasswordChanged>(),
    Entry::of::<LoginBlocked>(),
    Entry::of::<InstanceProvisioningStarted>(),
    Entry::of::<InstanceReady>(),
    Entry::of::<InstanceProvisioningFailed>(),
    Entry::of::<InstanceStarted>(),
    Entry::of::<InstanceStopped>(),
    Entry::of::<InstanceSuspended>(),
    Entry::of::<InstanceResumed>(),
    Entry::of::<InstanceDeleted>(),
    Entry::of::<InvoiceCreated>(),
    Entry::of::<InvoicePaid>(),
    Entry::of::<PaymentReceived>(),
    Entry::of::<PaymentFailure>(),
    Entry::of::<BillingReminder>(),
    Entry::of::<OverduePayment>(),
    Entry::of::<TrialEnding>(),
    Entry::of::<SubscriptionUpgrade>(),
    Entry::of::<SubscriptionCancelled>(),
    Entry::of::<SubscriptionReactivated>(),
    Entry::of::<SubscriptionExpired>(),
    Entry::of::<ServiceTerminated>(),
];
