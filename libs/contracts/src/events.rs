//! Payloads of the events on the exchange `saasodoo.events`, and their topics (routing keys).
//!
//! An event is a past fact and a hint: whoever misses it finds the truth in SQL. Payloads carry ids and
//! display text, never a secret (SEC-04). A change to a payload is additive; another meaning gets a new
//! version in the topic.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// Topics, grouped by owner.
pub mod topics {
    /// Payload [`super::CustomerFact`]: an account was registered; billing opens its account (USR-06).
    pub const CUSTOMER_REGISTERED: &str = "customer.registered.v1";
    /// Payload [`super::CustomerFact`]: the address was verified; mail `welcome`.
    pub const CUSTOMER_VERIFIED: &str = "customer.verified.v1";
    /// Payload [`super::CustomerFact`]: mail `password_changed`.
    pub const CUSTOMER_PASSWORD_CHANGED: &str = "customer.password_changed.v1";
    /// Payload [`super::CustomerFact`]: the brute-force guard closed the account for a while; mail
    /// `login_blocked`.
    pub const CUSTOMER_LOGIN_BLOCKED: &str = "customer.login_blocked.v1";
    /// Payload [`super::CustomerFact`]: the account was closed (USR-20).
    pub const CUSTOMER_CLOSED: &str = "customer.closed.v1";
    /// Payload [`super::CustomerFact`]: the person of a closed account was erased (USR-20). Whoever keeps
    /// anything that names them erases it as well. A hint: `ListErasedCustomers` tells what was missed.
    pub const CUSTOMER_ERASED: &str = "customer.erased.v1";

    /// Payload [`super::OperationRequested`]: an operation was queued; wakes the worker.
    pub const OPERATION_REQUESTED: &str = "instance.operation.requested.v1";
    /// Payload [`super::InstanceFact`]: the row exists; billing confirms the order.
    pub const INSTANCE_CREATED: &str = "instance.created.v1";
    /// Payload [`super::InstanceFact`]: provisioning began; mail `instance_provisioning_started`.
    pub const INSTANCE_PROVISIONING_STARTED: &str = "instance.provisioning_started.v1";
    /// Payload [`super::InstanceFact`]: first time running; mail `instance_ready`.
    pub const INSTANCE_READY: &str = "instance.ready.v1";
    /// Payload [`super::InstanceFact`]: provisioning ended without an instance; mail
    /// `instance_provisioning_failed`; billing takes the order back.
    pub const INSTANCE_PROVISIONING_FAILED: &str = "instance.provisioning_failed.v1";
    /// Payload [`super::InstanceFact`]: running again after start; mail `instance_started`.
    pub const INSTANCE_STARTED: &str = "instance.started.v1";
    /// Payload [`super::InstanceFact`]: no pod is left after stop; mail `instance_stopped`.
    pub const INSTANCE_STOPPED: &str = "instance.stopped.v1";
    /// Payload [`super::InstanceFact`]: running again after restart; no mail.
    pub const INSTANCE_RESTARTED: &str = "instance.restarted.v1";
    /// Payload [`super::InstanceFact`]: off for billing or abuse; mail `instance_suspended`.
    pub const INSTANCE_SUSPENDED: &str = "instance.suspended.v1";
    /// Payload [`super::InstanceFact`]: back after suspension; mail `instance_resumed`.
    pub const INSTANCE_RESUMED: &str = "instance.resumed.v1";
    /// Payload [`super::InstanceFact`]: workload gone, data kept until `purge_after`; mail
    /// `instance_deleted`.
    pub const INSTANCE_TERMINATED: &str = "instance.terminated.v1";
    /// Payload [`super::InstanceFact`]: back from terminated within retention; no mail.
    pub const INSTANCE_UNDELETED: &str = "instance.undeleted.v1";
    /// Payload [`super::InstanceFact`]: nothing is left but the row.
    pub const INSTANCE_PURGED: &str = "instance.purged.v1";

    /// Payload [`super::PoolFact`]: a pool should get (or lose) its objects; wakes the worker.
    pub const POOL_REQUESTED: &str = "database.pool.requested.v1";
    /// Payload [`super::PoolFact`]: a row of `db_servers` changed; keeps the projection in database
    /// `instance` (DBS-36) and wakes waiting operations.
    pub const POOL_CHANGED: &str = "database.pool.changed.v1";

    /// Payload [`super::SubscriptionFact`].
    pub const SUBSCRIPTION_CREATED: &str = "billing.subscription.created.v1";
    /// Payload [`super::SubscriptionFact`].
    pub const SUBSCRIPTION_SUSPENDED: &str = "billing.subscription.suspended.v1";
    /// Payload [`super::SubscriptionFact`].
    pub const SUBSCRIPTION_RESUMED: &str = "billing.subscription.resumed.v1";
    /// Payload [`super::SubscriptionFact`].
    pub const SUBSCRIPTION_ENDED: &str = "billing.subscription.ended.v1";
    /// Payload [`super::SubscriptionFact`]: plan, billing status or a pending change is another now. A hint:
    /// instance-service reads the entitlement (`GetEntitlement`), follows `billing_status`, starts what
    /// waited for its payment and applies new limits.
    pub const SUBSCRIPTION_CHANGED: &str = "billing.subscription.changed.v1";

    /// Payload [`super::BillingFact`]: an invoice was issued; mail `invoice_created`.
    pub const INVOICE_ISSUED: &str = "billing.invoice.issued.v1";
    /// Payload [`super::BillingFact`]: an invoice has no balance left; mail `invoice_paid`.
    pub const INVOICE_PAID: &str = "billing.invoice.paid.v1";
    /// Payload [`super::BillingFact`]: money arrived; mail `payment_received`.
    pub const PAYMENT_RECEIVED: &str = "billing.payment.received.v1";
    /// Payload [`super::BillingFact`]: a payment failed; mail `payment_failure`.
    pub const PAYMENT_FAILED: &str = "billing.payment.failed.v1";
    /// Payload [`super::BillingFact`]: an open invoice will soon be due or has just become due; mail
    /// `billing_reminder`.
    pub const INVOICE_REMINDER: &str = "billing.invoice.reminder.v1";
    /// Payload [`super::BillingFact`]: the ladder warned (first mail) or suspended (second mail); mail
    /// `overdue_payment` (BIL-14).
    pub const OVERDUE: &str = "billing.overdue.v1";
    /// Payload [`super::BillingFact`]: the trial ends in `days`; mail `trial_ending` (BIL-11).
    pub const TRIAL_ENDING: &str = "billing.trial.ending.v1";
    /// Payload [`super::BillingFact`]: the plan changed upwards; mail `subscription_upgrade`.
    pub const SUBSCRIPTION_UPGRADED: &str = "billing.subscription.upgraded.v1";
    /// Payload [`super::BillingFact`]: a cancellation was asked for; mail `subscription_cancelled` with the
    /// true end (BIL-24).
    pub const SUBSCRIPTION_CANCELLED: &str = "billing.subscription.cancelled.v1";
    /// Payload [`super::BillingFact`]: a terminated instance has a new subscription; mail
    /// `subscription_reactivated` (BIL-25). `balance`: what must be paid before the instance comes back;
    /// none: it comes back now.
    pub const SUBSCRIPTION_REACTIVATED: &str = "billing.subscription.reactivated.v1";
    /// Payload [`super::BillingFact`]: an order was never paid, or its trial ended without a plan; mail
    /// `subscription_expired`.
    pub const SUBSCRIPTION_EXPIRED: &str = "billing.subscription.expired.v1";
    /// Payload [`super::BillingFact`]: the service of a subscription ended; mail `service_terminated` with
    /// the true retention date (BIL-24).
    pub const SERVICE_TERMINATED: &str = "billing.service.terminated.v1";
}

/// A fact on an account. Readers look the address up with `CustomerDirectoryService`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerFact {
    /// Whose account.
    pub customer_id: Uuid,
    /// When it became true.
    #[serde(with = "time::serde::rfc3339")]
    pub occurred_at: OffsetDateTime,
    /// Non-secret text for the mail, such as the blocked address or the time until which a login is blocked.
    #[serde(default)]
    pub detail: Option<String>,
}

/// An operation waits to be claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRequested {
    /// The operation.
    pub operation_id: Uuid,
    /// Its instance.
    pub instance_id: Uuid,
    /// Kind word, such as `create`.
    pub kind: String,
}

/// A fact on an instance, with what a mail needs to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceFact {
    /// Which instance.
    pub instance_id: Uuid,
    /// Its owner.
    pub customer_id: Uuid,
    /// Its subscription.
    pub subscription_id: Option<Uuid>,
    /// Display name.
    pub name: String,
    /// URL of the tenant.
    pub external_url: String,
    /// Contact and login of the tenant's administrator.
    pub admin_email: String,
    /// Plan name.
    pub plan: String,
    /// Operation that led here.
    pub operation_id: Option<Uuid>,
    /// Safe reason, for stopped, suspended and failed.
    #[serde(default)]
    pub reason: Option<String>,
    /// End of the retention, for terminated.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub purge_after: Option<OffsetDateTime>,
    /// When it became true.
    #[serde(with = "time::serde::rfc3339")]
    pub occurred_at: OffsetDateTime,
}

/// A row of `db_servers` as others may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFact {
    /// Id of the server.
    pub id: Uuid,
    /// Name, such as `postgres-pool-1`.
    pub name: String,
    /// shared, dedicated, platform.
    pub server_type: String,
    /// State word.
    pub status: String,
    /// Health word.
    pub health_status: String,
    /// Host as seen from a pod; empty until known.
    pub host: String,
    /// Port.
    pub port: i32,
    /// Role that administers it.
    pub admin_user: String,
    /// Tenants now.
    pub current_instances: i32,
    /// Tenants at most.
    pub max_instances: i32,
    /// Lower is chosen first.
    pub priority: i32,
    /// automatic or manual.
    pub allocation_strategy: String,
    /// Version text; empty until known.
    pub postgres_version: String,
    /// Failed checks in a row.
    pub health_check_failures: i32,
    /// Last check.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub last_health_check: Option<OffsetDateTime>,
    /// Grows with each change, so that an older fact never overwrites a newer one.
    pub version: i64,
}

/// A fact on a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionFact {
    /// Which subscription.
    pub subscription_id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// For which instance.
    pub instance_id: Uuid,
    /// trial, paid, payment_required, closed.
    pub billing_status: String,
    /// Safe reason.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it became true.
    #[serde(with = "time::serde::rfc3339")]
    pub occurred_at: OffsetDateTime,
}

/// An amount in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Minor units of the currency, such as cents.
    pub minor: i64,
    /// ISO 4217.
    pub currency: String,
}

/// A fact about money, with what a mail needs to show. Which fields are set depends on the topic; dates are
/// those of the billing clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingFact {
    /// Whose.
    pub customer_id: Uuid,
    /// Which subscription; none for an invoice over several.
    #[serde(default)]
    pub subscription_id: Option<Uuid>,
    /// For which instance.
    #[serde(default)]
    pub instance_id: Option<Uuid>,
    /// Plan name now.
    #[serde(default)]
    pub plan: String,
    /// Plan name before a change.
    #[serde(default)]
    pub previous_plan: Option<String>,
    /// The invoice.
    #[serde(default)]
    pub invoice_id: Option<Uuid>,
    /// Its number.
    #[serde(default)]
    pub invoice_number: Option<String>,
    /// What is asked for, was paid or failed.
    #[serde(default)]
    pub amount: Option<Amount>,
    /// What is left to pay.
    #[serde(default)]
    pub balance: Option<Amount>,
    /// When the invoice is or was due.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub due_at: Option<OffsetDateTime>,
    /// When the trial, the subscription or the service ends.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub ends_at: Option<OffsetDateTime>,
    /// The next step of the ladder, for `OVERDUE`.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub next_step_at: Option<OffsetDateTime>,
    /// Until when the data of a terminated instance is kept.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub retained_until: Option<OffsetDateTime>,
    /// Days: left in the trial, or overdue.
    #[serde(default)]
    pub days: Option<u32>,
    /// The ladder's state word for `OVERDUE` (`warning`, `suspended`); a safe reason else.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it became true.
    #[serde(with = "time::serde::rfc3339")]
    pub occurred_at: OffsetDateTime,
}

impl std::fmt::Display for Amount {
    /// `USD 9.00`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::scalars::money_text(self.minor, &self.currency))
    }
}
