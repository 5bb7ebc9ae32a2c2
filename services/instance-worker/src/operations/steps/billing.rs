//! billing: may this subscription run now?

use super::super::context::Context;
use super::super::step::{Failure, Outcome};

pub(super) async fn check(context: &Context<'_>) -> Result<Outcome, Failure> {
    let Some(subscription) = context.instance.subscription_id else {
        return Ok(Outcome::Skipped("the instance has no subscription"));
    };
    let answer = context.worker.peers.entitlement(subscription).await?;
    if answer.may_run {
        return Ok(Outcome::Done);
    }
    let reason = if answer.reason.is_empty() { "payment_required".to_owned() } else { answer.reason };
    let message = match reason.as_str() {
        "payment_required" => "the subscription waits for a payment",
        _ => "the subscription does not allow this instance to run",
    };
    Err(Failure::permanent(reason, message, format!("billing status {}", answer.billing_status)))
}
