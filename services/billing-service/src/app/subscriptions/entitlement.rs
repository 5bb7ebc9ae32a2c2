//! May a subscription run now, and with what limits?

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use crate::app::App;
use crate::domain::plan::Plan;
use crate::domain::subscription::Subscription;
use crate::error::Error;
use crate::store::subscriptions;
use crate::store::{invoices, plans, read_or_none};

/// The answer to the first step of an operation.
#[derive(Debug, Clone)]
pub struct Entitled {
    /// The subscription.
    pub subscription: Subscription,
    /// The plan as it was bought.
    pub plan: Plan,
    /// A debt of it is open.
    pub owes: bool,
}

/// What is known of many subscriptions. Each one that was asked for is in one of the three.
#[derive(Debug, Clone, Default)]
pub struct Many {
    /// These could be read.
    pub entitled: Vec<Entitled>,
    /// There are none of these.
    pub unknown: Vec<Uuid>,
    /// A row of these, or of their plan, cannot be read by this version: they keep no other back.
    pub unreadable: Vec<Uuid>,
}

/// From the local rows alone: the provider may be down (BIL-35).
pub async fn entitlement(app: &App, subscription: Uuid) -> Result<Entitled, Error> {
    let subscription =
        subscriptions::find(&app.pool, subscription).await?.ok_or(Error::NotFound("subscription"))?;
    let plan = plans::find(&app.pool, &subscription.plan_name, Some(subscription.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    let owes = invoices::oldest_due(&app.pool, subscription.id).await?.is_some();
    Ok(Entitled { subscription, plan, owes })
}

/// The same for many at once: two queries, and one for each plan among them.
pub async fn entitlements(app: &App, wanted: &[Uuid]) -> Result<Many, Error> {
    let mut missing: HashSet<Uuid> = wanted.iter().copied().collect();
    let mut found = Many::default();
    let owing = invoices::oldest_dues(&app.pool, wanted).await?;
    let mut known: HashMap<(String, i64), Option<Plan>> = HashMap::new();
    for (id, row) in subscriptions::of_ids(&app.pool, wanted).await? {
        missing.remove(&id);
        let Some(subscription) = read_or_none("subscriptions", row)? else {
            found.unreadable.push(id);
            continue;
        };
        let key = (subscription.plan_name.clone(), subscription.entitlement_version);
        if !known.contains_key(&key) {
            let plan = plans::find(&app.pool, &key.0, Some(key.1)).await;
            known.insert(key.clone(), read_or_none("plans", plan)?.flatten());
        }
        match known.get(&key).cloned().flatten() {
            Some(plan) => {
                let owes = owing.contains_key(&id);
                found.entitled.push(Entitled { subscription, plan, owes });
            }
            None => found.unreadable.push(id),
        }
    }
    found.unknown = missing.into_iter().collect();
    Ok(found)
}
