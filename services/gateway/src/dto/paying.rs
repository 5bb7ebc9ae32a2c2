//! Payments through a gateway, and refunds.

use contracts::billing::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::money::Amount;
use super::scalars::{Money, Time, text, time};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitiatePaynow {
    #[schema(format = Uuid)]
    pub invoice_id: String,
    /// ecocash, onemoney, card. Cards are typed in on the page of the payment provider; card data is refused here.
    #[schema(example = "ecocash")]
    pub payment_method: String,
    /// 10 digits that start with 07; for ecocash and onemoney.
    #[schema(example = "0771111111")]
    pub phone: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayTest {
    #[schema(format = Uuid)]
    pub invoice_id: String,
    /// A part of what is left to pay; absent: all.
    pub amount: Option<Amount>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Initiated {
    #[schema(format = Uuid)]
    pub payment_id: String,
    #[schema(example = "INV-000001-2b1f6f1f0a11")]
    pub reference: String,
    /// mobile: confirm on the phone; redirect: go to `redirect_url`
    #[schema(example = "mobile")]
    pub payment_type: String,
    /// pending, paid, failed, cancelled, disputed
    #[schema(example = "pending")]
    pub status: String,
    pub redirect_url: Option<String>,
    pub message: String,
}

impl Initiated {
    /// What billing answered.
    pub fn new(payment: pb::Payment, payment_type: String, message: String) -> Self {
        Self {
            payment_id: payment.id,
            reference: payment.reference,
            payment_type,
            status: payment.state,
            redirect_url: text(payment.redirect_url),
            message,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PaymentStatus {
    #[schema(format = Uuid)]
    pub payment_id: String,
    #[schema(format = Uuid)]
    pub invoice_id: String,
    #[schema(example = "INV-000001-2b1f6f1f0a11")]
    pub reference: String,
    /// pending, paid, failed, cancelled, refunded, disputed
    #[schema(example = "pending")]
    pub status: String,
    /// The payment provider's own word.
    #[schema(example = "Sent")]
    pub gateway_status: Option<String>,
    pub amount: Option<Money>,
    #[schema(example = "ecocash")]
    pub payment_method: String,
    /// Why it ended so.
    pub reason: Option<String>,
    pub created_at: Option<Time>,
}

impl From<pb::Payment> for PaymentStatus {
    fn from(payment: pb::Payment) -> Self {
        Self {
            created_at: time(payment.created_at.as_ref()),
            amount: payment.amount.map(Money::from),
            payment_id: payment.id,
            invoice_id: payment.invoice_id,
            reference: payment.reference,
            status: payment.state,
            gateway_status: text(payment.gateway_status),
            payment_method: payment.method,
            reason: text(payment.reason),
        }
    }
}

/// A result of Paynow, as it posts it: URL-encoded, in an order that its hash counts on. Read by billing alone.
#[derive(Debug, Serialize, ToSchema)]
pub struct PaynowResult {
    #[schema(example = "INV-000001-2b1f6f1f0a11")]
    pub reference: String,
    #[schema(example = "9001")]
    pub paynowreference: String,
    #[schema(example = "9.00")]
    pub amount: String,
    #[schema(example = "Paid")]
    pub status: String,
    #[schema(example = "https://www.paynow.co.zw/Interface/CheckPayment/?guid=…")]
    pub pollurl: String,
    /// SHA-512 over all values and the integration key, in upper-case hex.
    #[schema(example = "2A03…C689")]
    pub hash: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    pub amount: Amount,
    #[schema(min_length = 5, max_length = 500)]
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Refunded {
    pub success: bool,
    #[schema(format = Uuid)]
    pub refund_id: String,
    /// done; waiting: the billing provider does not answer now, it hears of it until it has made it
    pub state: String,
    pub payment: super::money::Payment,
}
