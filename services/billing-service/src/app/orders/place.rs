//! Places an order: row first, then the provider, then the subscription (BIL-08). Idempotent by instance:
//! whoever asks again, or the sweep after a crash, goes on where the first one stopped.

use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::complete::{Failed, complete};
use super::reverse::{reverse_order, tell_provider};
use crate::app::App;
use crate::app::invoices::charges;
use crate::domain::plan::Plan;
use crate::domain::subscription::Subscription;
use crate::domain::trial::{Eligibility, EmailHash, eligibility};
use crate::error::Error;
use crate::store::orders::{self, Order, OrderState};
use crate::store::{customers, plans, subscriptions};

/// The sweep takes an order over when its own call has not finished it by then.
const TAKE_OVER: Duration = Duration::seconds(20);

/// What is ordered.
#[derive(Debug, Clone)]
pub struct Wish {
    /// For which instance.
    pub instance_id: Uuid,
    /// Whose.
    pub customer_id: Uuid,
    /// Plan.
    pub plan_name: String,
    /// A trial: wanted and nothing else, not wanted, or when possible.
    pub trial: Option<bool>,
    /// The instance's settings.
    pub settings: Value,
    /// A coupon.
    pub coupon: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The subscription.
    pub subscription: Subscription,
    /// The plan as it was bought.
    pub plan: Plan,
    /// Why there is no trial, when there could have been one.
    pub trial_reason: &'static str,
}

/// Places the order, or finds the one that is there.
pub async fn place_order(app: &App, wish: Wish, now: OffsetDateTime) -> Result<Answer, Error> {
    let mut trial_reason = "";
    // The second round finds the order of a call that was faster.
    for _ in 0..2 {
        if let Some(order) = orders::find_live(&app.pool, wish.instance_id).await? {
            if order.customer_id != wish.customer_id {
                return Err(Error::NotFound("instance"));
            }
            return finish(app, &order, trial_reason, now).await;
        }
        let plan = plans::find(&app.pool, &wish.plan_name, None)
            .await?
            .filter(|plan| plan.active)
            .ok_or_else(|| Error::PlanUnavailable(wish.plan_name.clone()))?;
        get_to_know(app, wish.customer_id).await?;
        let (hash, reason) = wants_trial(app, &wish, &plan).await?;
        trial_reason = reason;
        if let Some((order, reason)) = write(app, &wish, &plan, hash, now).await? {
            return finish(app, &order, if reason.is_empty() { trial_reason } else { reason }, now).await;
        }
    }
    Err(Error::Conflict)
}

/// Asks who the customer is, before the first order. Without an answer the order goes on: what it needs of
/// it, it refuses to do without.
async fn get_to_know(app: &App, customer: Uuid) -> Result<(), Error> {
    if customers::is_known(&app.pool, customer).await? {
        return Ok(());
    }
    match app.clients.profile(customer).await {
        Ok(profile) => {
            customers::open(&app.pool, customer, Some(profile.email_hash)).await?;
            customers::know(&app.pool, customer, &profile).await?;
        }
        Err(status) => tracing::warn!(code = ?status.code(), "nobody says who the customer is"),
    }
    Ok(())
}

/// Hash of the address when a trial shall be tried; else why not.
async fn wants_trial(
    app: &App,
    wish: &Wish,
    plan: &Plan,
) -> Result<(Option<EmailHash>, &'static str), Error> {
    match (wish.trial, plan.trial()) {
        (Some(false), _) | (None, None) => return Ok((None, "")),
        (Some(true), None) => return Err(Error::TrialNotAvailable("no_trial_on_plan")),
        (None | Some(true), Some(_)) => {}
    }
    if let Some(hash) = customers::email_hash(&app.pool, wish.customer_id).await? {
        return Ok((Some(hash), ""));
    }
    // Nobody is charged because a look-up failed: the order is refused, and can be placed again.
    let hash = app.clients.email_hash(wish.customer_id).await.map_err(|status| {
        tracing::warn!(code = ?status.code(), "no address for the trial rule");
        Error::TrialUnchecked
    })?;
    Ok((Some(hash), ""))
}

/// The transaction of the order: account, trial, order. `None`: another call has placed it.
async fn write(
    app: &App,
    wish: &Wish,
    plan: &Plan,
    hash: Option<EmailHash>,
    now: OffsetDateTime,
) -> Result<Option<(Order, &'static str)>, Error> {
    let mut tx = app.pool.begin().await?;
    customers::open(&mut *tx, wish.customer_id, hash).await?;
    if charges::needs_country(&mut tx, wish.customer_id, now).await? {
        let message = "must be set in the billing account first: the tax on invoices depends on it";
        return Err(Error::Field { field: "country", message });
    }
    let subscription_id = Uuid::now_v7();
    let mut reason = "";
    let mut trial = false;
    if let Some(hash) = hash {
        let facts = customers::trial_facts(&mut *tx, wish.customer_id, hash).await?;
        let mut answer = eligibility(Some(facts));
        if answer == Eligibility::Eligible {
            trial =
                customers::grant_trial(&mut tx, subscription_id, wish.customer_id, hash, &plan.name).await?;
            if !trial {
                answer = Eligibility::AlreadyUsed;
            }
        }
        if !trial && wish.trial == Some(true) {
            // Who asks for a trial must not find a bill.
            return Err(Error::TrialNotAvailable(answer.as_str()));
        }
        if !trial {
            reason = answer.as_str();
        }
    }
    let order = Order {
        id: Uuid::now_v7(),
        instance_id: wish.instance_id,
        customer_id: wish.customer_id,
        subscription_id,
        plan_name: plan.name.clone(),
        entitlement_version: plan.entitlement_version,
        trial,
        state: OrderState::Placed,
        confirmed_at: None,
        provider_cancel_due: false,
        created_at: now,
    };
    if !orders::place(&mut tx, &order, &wish.settings, TAKE_OVER).await? {
        tx.rollback().await?;
        return Ok(None);
    }
    if let Some(code) = &wish.coupon {
        let currency = plan.price.currency();
        charges::redeem(&mut tx, code, wish.customer_id, subscription_id, currency, now).await?;
    }
    tx.commit().await?;
    app.fail.at("order.written");
    Ok(Some((order, reason)))
}

/// Makes the subscription if it is not there, and answers.
async fn finish(
    app: &App,
    order: &Order,
    trial_reason: &'static str,
    now: OffsetDateTime,
) -> Result<Answer, Error> {
    let plan = plans::find(&app.pool, &order.plan_name, Some(order.entitlement_version))
        .await?
        .ok_or(Error::NotFound("plan"))?;
    let subscription = if order.state == OrderState::Placed {
        match complete(app, order, &plan, now).await {
            Ok(subscription) => subscription,
            Err(Failed::Provider(error)) => {
                tracing::error!(order.id = %order.id, error = format!("{error:#}"), "the provider took no order");
                give_up(app, order, now).await?
            }
            Err(Failed::Error(error)) => return Err(error),
        }
    } else {
        subscriptions::find(&app.pool, order.subscription_id).await?.ok_or(Error::NotFound("subscription"))?
    };
    Ok(Answer { subscription, plan, trial_reason })
}

/// The provider is down: new purchases are refused (BIL-35), and nothing of this one stays, also if the
/// provider has done its part. Unless another call of the same order was luckier: then its subscription is
/// the answer.
async fn give_up(app: &App, order: &Order, now: OffsetDateTime) -> Result<Subscription, Error> {
    let mut tx = app.pool.begin().await?;
    let present = orders::lock(&mut tx, order.id).await?.ok_or(Error::Conflict)?;
    if present.state == OrderState::Subscribed {
        return subscriptions::find(&mut *tx, order.subscription_id).await?.ok_or(Error::Conflict);
    }
    reverse_order(&mut tx, app, &present, "provider_unavailable", now).await?;
    tx.commit().await?;
    // Very likely in vain now; the sweep tells it again.
    tell_provider(app, order, now).await;
    Err(Error::ProviderUnavailable)
}
