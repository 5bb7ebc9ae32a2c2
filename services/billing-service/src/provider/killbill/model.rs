//! Objects of the API, as far as we look at them.

#![expect(clippy::struct_field_names, reason = "the fields are named as Kill Bill names them")]

use serde::Deserialize;
use uuid::Uuid;

use super::values::{Decimal, Moment};

/// A customer.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Its id.
    pub account_id: Uuid,
    /// Our id.
    pub external_key: String,
    /// ISO 4217.
    pub currency: Option<String>,
    /// Credit that waits for an invoice; only when asked for.
    #[serde(rename = "accountCBA")]
    pub credit: Option<Decimal>,
}

/// Tag on an object.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// What it means.
    pub tag_definition_id: Uuid,
}

/// A group of subscriptions; ours hold one.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// What is in it.
    #[serde(default)]
    pub subscriptions: Vec<Subscription>,
}

/// A subscription.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Whose.
    pub account_id: Uuid,
    /// In which bundle.
    pub bundle_id: Uuid,
    /// Its id.
    pub subscription_id: Uuid,
    /// Our id.
    pub external_key: String,
    /// Plan now.
    pub plan_name: String,
    /// TRIAL, EVERGREEN
    pub phase_type: String,
    /// PENDING, ACTIVE, BLOCKED, CANCELLED, EXPIRED
    pub state: String,
    /// When it ends or ended.
    pub cancelled_date: Option<Moment>,
    /// Until when invoices were made.
    pub charged_through_date: Option<Moment>,
    /// All that happened and will happen to it.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// Past or future event of a subscription.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub effective_date: Moment,
    /// Plan from then on.
    pub plan: Option<String>,
    /// PHASE, CHANGE, STOP_ENTITLEMENT, …
    pub event_type: String,
}

/// An invoice.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invoice {
    /// Its id.
    pub invoice_id: Uuid,
    /// Its number.
    pub invoice_number: Option<String>,
    /// DRAFT, COMMITTED, VOID
    pub status: String,
    /// ISO 4217.
    pub currency: String,
    /// Sum of its items.
    pub amount: Decimal,
    /// What is left to pay.
    pub balance: Decimal,
    /// Whose.
    pub account_id: Option<Uuid>,
    /// Day of issue.
    pub invoice_date: Moment,
    /// Lines.
    #[serde(default)]
    pub items: Option<Vec<Item>>,
}

/// A line.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its id.
    pub invoice_item_id: Uuid,
    /// For which subscription.
    pub subscription_id: Option<Uuid>,
    /// RECURRING, FIXED, REPAIR_ADJ, CBA_ADJ, CREDIT_ADJ, ITEM_ADJ, …
    pub item_type: String,
    /// For people.
    pub description: Option<String>,
    /// Period.
    pub start_date: Option<Moment>,
    /// Period.
    pub end_date: Option<Moment>,
    /// Amount.
    pub amount: Decimal,
    /// Plan.
    pub plan_name: Option<String>,
    /// The item that it takes back.
    pub linked_invoice_item_id: Option<Uuid>,
}

/// A payment for an invoice.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// For which invoice; not on the plain payment.
    pub target_invoice_id: Option<Uuid>,
    /// Whose.
    pub account_id: Uuid,
    /// Its id.
    pub payment_id: Uuid,
    /// Our id.
    pub payment_external_key: String,
    /// What was paid.
    pub purchased_amount: Decimal,
    /// What was given back.
    pub refunded_amount: Decimal,
    /// ISO 4217.
    pub currency: String,
    /// Attempts, refunds.
    #[serde(default)]
    pub transactions: Vec<Transaction>,
}

/// A step of a payment.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transaction {
    /// Our key, if one was given.
    pub transaction_external_key: Option<String>,
    /// PURCHASE, REFUND, …
    pub transaction_type: String,
    /// SUCCESS, PAYMENT_FAILURE, …
    pub status: Option<String>,
    /// When.
    pub effective_date: Moment,
}

/// Catalogue of one version.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogVersion {
    /// From when on it holds.
    pub effective_date: Moment,
    /// What is sold.
    #[serde(default)]
    pub products: Vec<CatalogProduct>,
}

/// A product.
#[derive(Debug, Clone, Deserialize)]
pub struct CatalogProduct {
    /// Its name.
    pub name: String,
    /// Its plans.
    #[serde(default)]
    pub plans: Vec<CatalogPlan>,
}

/// A plan.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogPlan {
    /// Its name.
    pub name: String,
    /// MONTHLY, …
    pub billing_period: Option<String>,
    /// Trial, then for good.
    #[serde(default)]
    pub phases: Vec<CatalogPhase>,
}

/// A phase of a plan.
#[derive(Debug, Clone, Deserialize)]
pub struct CatalogPhase {
    /// TRIAL, EVERGREEN
    #[serde(rename = "type")]
    pub kind: String,
    /// Recurring prices.
    #[serde(default)]
    pub prices: Vec<CatalogPrice>,
    /// Its length.
    pub duration: Option<CatalogDuration>,
}

/// A price.
#[derive(Debug, Clone, Deserialize)]
pub struct CatalogPrice {
    /// ISO 4217.
    pub currency: String,
    /// Amount.
    pub value: Decimal,
}

/// A length.
#[derive(Debug, Clone, Deserialize)]
pub struct CatalogDuration {
    /// How many; -1 without an end.
    pub number: i64,
}
