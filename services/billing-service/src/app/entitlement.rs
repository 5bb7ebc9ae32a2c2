//! May a subscription run now, and with what limits?

use uuid::Uuid;

use super::Desk;
use crate::domain::plan::Plan;
use crate::error::Error;
use crate::store::plans;
use crate::store::subscriptions::{self, Subscription};

/// The answer to the first step of an operation.
#[derive(Debug, Clone)]
pub struct Entitled {
    /// The subscription.
    pub subscription: Subscription,
    /// The plan as it was bought.
    pub plan: Plan,
}

/// From the local rows alone: the provider may be down (BIL-35).
pub async fn entitlement(desk: &Desk, subscription: Uuid) -> Result<Entitled, Error> {
    let subscription =
        subscriptions::find(&desk.pool, subscription).await?.ok_or(Error::NotFound("subscription"))?;
    let plan = plans::find(&desk.pool, &subscription.plan_name, Some(subscription.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    Ok(Entitled { subscription, plan })
}
