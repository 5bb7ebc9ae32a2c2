//! What a provider holds, in our words.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::invoice::Line;
use crate::domain::money::Money;

/// What a provider holds about a subscription now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The provider's own id.
    pub provider_id: String,
    /// When it ended, if it did.
    pub ended_at: Option<OffsetDateTime>,
}

/// All that a provider holds about a customer: the read model is made of it. Hooks are hints, this is the
/// truth.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The provider's own id of the account; `None`: it has none.
    pub account_id: Option<String>,
    /// Subscriptions, ended ones too.
    pub subscriptions: Vec<SnapshotSubscription>,
    /// Committed invoices.
    pub invoices: Vec<SnapshotInvoice>,
    /// Payments.
    pub payments: Vec<SnapshotPayment>,
    /// What the provider owes the customer.
    pub credit: Option<Money>,
}

/// A subscription in a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotSubscription {
    /// Our id (the external key), if it is one.
    pub id: Option<Uuid>,
    /// The provider's own id.
    pub provider_id: String,
    /// Plan now.
    pub plan_name: String,
    /// In its trial until then.
    pub trial_ends_at: Option<OffsetDateTime>,
    /// Paid or billed until then.
    pub charged_through: Option<OffsetDateTime>,
    /// Plan that comes, and when.
    pub pending: Option<(String, OffsetDateTime)>,
    /// Ends then.
    pub cancel_at: Option<OffsetDateTime>,
    /// Ended then.
    pub ended_at: Option<OffsetDateTime>,
}

/// An invoice in a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotInvoice {
    /// The provider's own id.
    pub provider_id: String,
    /// As printed.
    pub number: String,
    /// Our id of the subscription that it is about, if it is about one.
    pub subscription_id: Option<Uuid>,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Sum, as it was issued.
    pub total: Money,
    /// What is left to pay.
    pub balance: Money,
    /// Taken back.
    pub void: bool,
    /// When it was issued.
    pub issued_at: OffsetDateTime,
    /// What was taken back of it since.
    pub adjustments: Vec<SnapshotAdjustment>,
}

/// A part of an invoice that was taken back after its issue.
#[derive(Debug, Clone)]
pub struct SnapshotAdjustment {
    /// The provider's own id.
    pub provider_id: String,
    /// How much.
    pub amount: Money,
    /// When.
    pub at: OffsetDateTime,
}

/// A payment in a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotPayment {
    /// Our id, if we recorded it.
    pub key: Option<Uuid>,
    /// The provider's own id.
    pub provider_id: String,
    /// The provider's own id of the invoice.
    pub provider_invoice_id: String,
    /// How much.
    pub amount: Money,
    /// How much of it was given back.
    pub refunded: Money,
    /// The money is here.
    pub paid: bool,
    /// When.
    pub at: OffsetDateTime,
}
