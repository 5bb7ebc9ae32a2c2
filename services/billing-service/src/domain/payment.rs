//! States of a payment (BIL-26).

use super::money::Money;
use std::fmt;
use std::str::FromStr;
use time::OffsetDateTime;
use uuid::Uuid;

use super::invoice::words;

words! {
    /// State of a payment.
    PaymentState, UnknownPaymentState, {
        /// On its way.
        Pending = "pending",
        /// The money is here.
        Paid = "paid",
        /// It will not come.
        Failed = "failed",
        /// The customer stopped it.
        Cancelled = "cancelled",
        /// Given back, whole.
        Refunded = "refunded",
        /// Somebody must look: another amount, a chargeback.
        Disputed = "disputed",
    }
}

words! {
    /// How a customer pays through a gateway.
    Method, UnknownMethod, {
        /// Mobile money of EcoCash.
        Ecocash = "ecocash",
        /// Mobile money of OneMoney.
        Onemoney = "onemoney",
        /// A card, on the gateway's own page: no card data comes to us.
        Card = "card",
    }
}

impl Method {
    /// A prompt on a phone, whose number is needed.
    pub fn needs_phone(self) -> bool {
        self != Self::Card
    }
}

impl PaymentState {
    /// May it become `next`? There is no way back from paid but refund and dispute.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => true,
            Self::Failed | Self::Cancelled => matches!(next, Self::Paid | Self::Disputed) || next == self,
            Self::Disputed => matches!(next, Self::Paid | Self::Refunded | Self::Disputed),
            Self::Paid => matches!(next, Self::Paid | Self::Refunded | Self::Disputed),
            Self::Refunded => matches!(next, Self::Refunded | Self::Disputed),
        }
    }
}

/// A payment as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Row.
    pub id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// For which invoice.
    pub invoice_id: Uuid,
    /// How much.
    pub amount: Money,
    /// How much of it was given back.
    pub refunded: Money,
    /// How: ecocash, card, bank, …
    pub method: String,
    /// Through whom: paynow, external, test, killbill.
    pub gateway: String,
    /// One payment each at a gateway.
    pub reference: String,
    /// The gateway's own name of it.
    pub gateway_reference: String,
    /// The gateway's word.
    pub gateway_status: String,
    /// Where it stands.
    pub state: PaymentState,
    /// It was booked, whatever became of it later.
    pub settled: bool,
    /// Where the gateway is asked.
    pub poll_url: String,
    /// Where the customer goes.
    pub redirect_url: String,
    /// Polls so far.
    pub polls: i32,
    /// Why it was recorded or failed.
    pub reason: String,
    /// When the money arrived.
    pub received_at: Option<OffsetDateTime>,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

/// What a list shows.
#[derive(Debug, Clone, Default)]
pub struct PaymentFilter {
    /// Only of this customer.
    pub customer_id: Option<Uuid>,
    /// Only in this state.
    pub state: Option<String>,
    /// Only through this gateway.
    pub gateway: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIL-26
    #[test]
    fn there_is_no_way_back_from_paid() {
        let after: Vec<_> =
            PaymentState::ALL.iter().filter(|next| PaymentState::Paid.may_become(**next)).collect();
        assert_eq!(after, [&PaymentState::Paid, &PaymentState::Refunded, &PaymentState::Disputed]);
        assert!(PaymentState::Failed.may_become(PaymentState::Paid), "a late success is a success");
    }
}
