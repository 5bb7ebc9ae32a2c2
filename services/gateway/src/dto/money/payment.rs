//! Payments and credits.

use ::time::OffsetDateTime;
use contracts::billing::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::dto::scalars::{Money, Time, text, time};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    #[schema(example = 900)]
    pub amount_minor: i64,
    #[schema(example = "USD")]
    pub currency: String,
}

impl From<Amount> for pb::Money {
    fn from(amount: Amount) -> Self {
        Self { amount_minor: amount.amount_minor, currency: amount.currency }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    #[schema(format = Uuid)]
    pub invoice_id: String,
    pub amount: Amount,
    #[schema(min_length = 1, max_length = 100)]
    pub reference: String,
    /// RFC 3339
    #[serde(default, with = "::time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>)]
    pub received_at: Option<OffsetDateTime>,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GiveCredit {
    #[schema(format = Uuid)]
    pub customer_id: String,
    pub amount: Amount,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CreditAnswer {
    /// The same for the same `Idempotency-Key`.
    pub credit_id: Option<String>,
    /// All that is left.
    pub credit: Option<Money>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Payment {
    #[schema(format = Uuid)]
    pub payment_id: String,
    #[schema(format = Uuid)]
    pub customer_id: String,
    #[schema(format = Uuid)]
    pub invoice_id: String,
    pub amount: Option<Money>,
    pub refunded: Option<Money>,
    #[schema(example = "bank")]
    pub payment_method: String,
    #[schema(example = "external")]
    pub gateway: String,
    pub reference: String,
    /// pending, paid, failed, cancelled, refunded, disputed
    #[schema(example = "paid")]
    pub status: String,
    pub gateway_status: Option<String>,
    pub received_at: Option<Time>,
    pub created_at: Option<Time>,
}

impl From<pb::Payment> for Payment {
    fn from(payment: pb::Payment) -> Self {
        Self {
            received_at: time(payment.received_at.as_ref()),
            created_at: time(payment.created_at.as_ref()),
            payment_id: payment.id,
            customer_id: payment.customer_id,
            invoice_id: payment.invoice_id,
            amount: payment.amount.map(Money::from),
            refunded: payment.refunded.map(Money::from),
            payment_method: payment.method,
            gateway: payment.gateway,
            reference: payment.reference,
            status: payment.state,
            gateway_status: text(payment.gateway_status),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentList {
    pub success: bool,
    pub payments: Vec<Payment>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OnePayment {
    pub success: bool,
    pub payment: Payment,
}
