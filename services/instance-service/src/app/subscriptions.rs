//! What billing's facts mean for instances (BIL-14, BIL-16, BIL-24): suspend, resume, terminate. Idempotent.

use contracts::billing::v1::GetEntitlementResponse;
use contracts::events::{SubscriptionFact, topics};
use contracts::services::BILLING;
use instance::domain::{Action, ActorKind, Ask, BillingStatus, decide};
use instance::store::{Scope, instances};
use sqlx::PgConnection;
use uuid::Uuid;

use super::App;
use super::act::{self, Wish};
use super::who::Who;
use crate::error::Error;

/// Applies a fact on the connection of its inbox row. False: a race was lost, try again.
pub async fn apply(
    connection: &mut PgConnection,
    app: &App,
    topic: &str,
    fact: &SubscriptionFact,
) -> Result<bool, Error> {
    let action = match topic {
        topics::SUBSCRIPTION_SUSPENDED => Action::Suspend,
        topics::SUBSCRIPTION_RESUMED => Action::Unsuspend,
        topics::SUBSCRIPTION_ENDED => Action::Terminate,
        _ => return Ok(true),
    };
    let now = runtime::clock::now();
    let Some(found) = instances::find(connection, fact.instance_id, Scope::All).await? else {
        tracing::info!(instance.id = %fact.instance_id, topic, "a fact on an instance that is not here");
        return Ok(true);
    };
    if found.instance.subscription_id != Some(fact.subscription_id) {
        // An older subscription of a reactivated instance decides nothing.
        return Ok(true);
    }
    let who = Who::service(BILLING, ActorKind::Billing, "");
    let wish = Wish {
        reason: fact.reason.clone(),
        billing_status: fact.billing_status.parse::<BillingStatus>().ok(),
        ..Wish::default()
    };
    let ask = Ask { action, actor: ActorKind::Billing, force: false };
    match decide(&found.instance, act::active(&found), ask, now) {
        Ok(decision) => {
            let acted = act::carry_out(connection, app, &who, &found, action, &wish, &decision, now).await?;
            Ok(acted.is_some())
        }
        Err(refused) => {
            tracing::info!(instance.id = %fact.instance_id, topic, refused = ?refused, "a fact changes nothing");
            Ok(true)
        }
    }
}

/// The sweep behind the message (REL-04): may an order that waits for a payment run by now?
pub async fn look_after_unpaid(app: &App, instance: Uuid, subscription: Uuid) -> Result<(), Error> {
    let GetEntitlementResponse { may_run, billing_status, .. } =
        app.billing.entitlement(subscription).await?;
    if !may_run {
        return Ok(());
    }
    let who = Who::service(BILLING, ActorKind::Billing, "");
    let wish = Wish { billing_status: billing_status.parse().ok(), ..Wish::default() };
    act::act(app, &who, instance, Action::Unsuspend, &wish).await.map(drop)
}
