//! Billing accounts and the overview of one.

use contracts::billing::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::invoice::Invoice;
use crate::dto::billing::Subscription;
use crate::dto::scalars::{Money, Time, text, time};

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Address {
    pub street: String,
    pub city: String,
    pub postal_code: String,
    pub region: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BillingAccount {
    #[schema(format = Uuid)]
    pub customer_id: String,
    pub company: Option<String>,
    pub tax_id: Option<String>,
    pub billing_email: Option<String>,
    pub address: Address,
    #[schema(example = "ZW")]
    pub country: Option<String>,
    pub currency: String,
    pub credit: Option<Money>,
    pub created_at: Option<Time>,
}

impl From<pb::Account> for BillingAccount {
    fn from(account: pb::Account) -> Self {
        let address = account.address.unwrap_or_default();
        Self {
            created_at: time(account.created_at.as_ref()),
            credit: account.credit.map(Money::from),
            customer_id: account.customer_id,
            company: text(account.company),
            tax_id: text(account.tax_id),
            billing_email: text(account.billing_email),
            address: Address {
                street: address.street,
                city: address.city,
                postal_code: address.postal_code,
                region: address.region,
            },
            country: text(account.country),
            currency: account.currency,
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeAccount {
    #[schema(max_length = 200)]
    pub company: Option<String>,
    #[schema(max_length = 50)]
    pub tax_id: Option<String>,
    pub address: Option<Address>,
    #[schema(max_length = 254)]
    pub billing_email: Option<String>,
    /// ISO 3166-1 alpha-2
    #[schema(example = "ZW")]
    pub country: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    pub account: Option<BillingAccount>,
    pub active_subscriptions: Vec<Subscription>,
    pub pending_subscriptions: Vec<Subscription>,
    pub outstanding_invoices: Vec<Invoice>,
    pub total_outstanding: Option<Money>,
    pub credit: Option<Money>,
    pub next_billing_date: Option<Time>,
    pub next_billing_amount: Option<Money>,
    pub trial_info: Option<crate::dto::billing::TrialEligibility>,
    /// none, warning, suspended, terminated
    #[schema(example = "none")]
    pub ladder_state: String,
    /// Instances that the subscriptions are for.
    pub customer_instances: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_since: Option<Time>,
}

impl From<pb::GetOverviewResponse> for Overview {
    fn from(found: pb::GetOverviewResponse) -> Self {
        let all = found.active_subscriptions.iter().chain(&found.pending_subscriptions);
        Self {
            customer_instances: all.map(|row| row.instance_id.clone()).collect(),
            next_billing_date: time(found.next_billing_date.as_ref()),
            stale_since: time(found.stale_since.as_ref()),
            account: found.account.map(BillingAccount::from),
            active_subscriptions: found.active_subscriptions.into_iter().map(Subscription::from).collect(),
            pending_subscriptions: found.pending_subscriptions.into_iter().map(Subscription::from).collect(),
            outstanding_invoices: found.outstanding_invoices.into_iter().map(Invoice::from).collect(),
            total_outstanding: found.total_outstanding.map(Money::from),
            credit: found.credit.map(Money::from),
            next_billing_amount: found.next_billing_amount.map(Money::from),
            trial_info: found.trial_info.map(crate::dto::billing::TrialEligibility::from),
            ladder_state: found.ladder_state,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OverviewAnswer {
    pub success: bool,
    pub data: Overview,
}
