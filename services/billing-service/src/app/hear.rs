//! Hooks of payment gateways: hints (BIL-30). What one says is not believed; the gateway is asked about the
//! payment that it names.

use uuid::Uuid;

use super::Desk;
use super::poll::{self, Heard};
use crate::error::Error;
use crate::store::payments;

/// What a hook came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The gateway was asked about this customer's payment; the state of the payment now.
    Asked(Uuid, &'static str),
    /// It is about nothing that we know; why.
    Ignored(&'static str),
}

/// Looks at a stored hook. No answer from the gateway: an error, and the hook waits.
pub async fn hear(desk: &Desk, gateway: &str, body: &[u8]) -> Result<Outcome, Error> {
    let Some(sender) = desk.gateways.get(gateway) else { return Ok(Outcome::Ignored("the gateway is off")) };
    let Some(reference) = sender.hear(body) else { return Ok(Outcome::Ignored("not signed by its sender")) };
    let Some(payment) = payments::find_by_reference(&desk.pool, gateway, &reference).await? else {
        return Ok(Outcome::Ignored("about no payment of ours"));
    };
    match poll::ask(desk, payment.id, runtime::clock::now()).await? {
        Heard::State(state) => Ok(Outcome::Asked(payment.customer_id, state.as_str())),
        Heard::Unknown => Ok(Outcome::Ignored("the gateway does not know the payment")),
        Heard::NoAnswer => Err(Error::GatewayAway),
    }
}
