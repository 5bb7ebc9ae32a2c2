//! Hooks of payment gateways: hints (BIL-30). What one says is not believed; the gateway is asked about the
//! payment that it names.

use uuid::Uuid;

use crate::app::App;
use crate::app::payments::poll::{self, Heard};
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
pub async fn handle_webhook(app: &App, gateway: &str, body: &[u8]) -> Result<Outcome, Error> {
    let Some(sender) = app.gateways.get(gateway) else { return Ok(Outcome::Ignored("the gateway is off")) };
    let Some(reference) = sender.webhook_reference(body) else {
        return Ok(Outcome::Ignored("not signed by its sender"));
    };
    let Some(payment) = payments::find_by_reference(&app.pool, gateway, &reference).await? else {
        return Ok(Outcome::Ignored("about no payment of ours"));
    };
    match poll::ask(app, payment.id, app.real_now().await).await? {
        Heard::State(state) => Ok(Outcome::Asked(payment.customer_id, state.as_str())),
        Heard::Unknown => Ok(Outcome::Ignored("the gateway does not know the payment")),
        Heard::NoAnswer => Err(Error::GatewayAway),
    }
}
