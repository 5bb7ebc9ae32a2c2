//! Create an instance (INS-01…14): check, claim, order, then everything that belongs to it in one
//! transaction. Host name and key are claimed before the order, so that whoever loses a race for them leaves
//! no order behind.

mod checked;
mod claimed;
mod request;
mod stored;

use instance::store::claims::Claim;
use instance::store::{self, idempotency};
use uuid::Uuid;

use self::claimed::Taken;
pub use self::request::{Altered, CreateInput, Created};
use self::request::{Asked, answer_again, request_of};
use self::stored::Unstored;
use super::App;
use super::caller::Caller;
use crate::clients::billing::Order;
use crate::error::Error;

/// The use case. `key` is the `Idempotency-Key`; empty: each call makes a new instance.
pub async fn create(app: &App, caller: &Caller, input: CreateInput, key: &str) -> Result<Created, Error> {
    let customer = customer_of(caller, &input)?;
    let (settings_json, coupon) = (input.json()?, input.coupon.clone());
    let request = request_of(key, &settings_json)?;
    if let Some(created) = repeated(app, customer, &request).await? {
        return Ok(created);
    }
    let plan_name = input.plan.clone().unwrap_or_else(|| app.rules.default_plan.clone());
    let (account, plan) = tokio::try_join!(app.customers.find(customer), app.billing.plan(&plan_name))?;
    let account = account.ok_or_else(|| Error::invalid("customer_id", "is no account"))?;
    let draft = checked::check(&app.rules, customer, &account, &plan, input)?;
    let claim = match claimed::take(app, &draft, &request).await? {
        Taken::Claim(claim) => claim,
        Taken::Again(created) => return Ok(*created),
    };
    let id = claim.instance_id;
    let order = Order {
        instance_id: id,
        customer_id: customer,
        plan: plan.name.clone(),
        trial: draft.trial,
        settings_json,
        coupon,
    };
    let placed = match app.billing.place(&order).await {
        Ok(placed) => placed,
        Err(error) => {
            // Without an answer nobody knows whether billing took it.
            let refused =
                matches!(error, Error::PlanUnavailable(_) | Error::PaymentRequired | Error::Invalid(_));
            if claimed::give_up(app, &claim).await && !refused {
                app.billing.cancel(id, "the order was not confirmed").await;
            }
            return Err(error);
        }
    };
    match stored::store(app, caller, &draft, &claim, &placed).await {
        Ok(created) if created.found.instance.id == id => {
            tracing::info!(instance.id = %id, plan = %plan.name, "ordered");
            Ok(created)
        }
        // Another call with the same key was served by a release that claims nothing.
        Ok(other) => {
            take_back(app, &claim, "idempotent repetition").await;
            Ok(other)
        }
        Err(Unstored::Refused(error)) => {
            take_back(app, &claim, error.reason()).await;
            Err(error)
        }
        // It may be there: nothing is taken back. The same request goes on with it, and billing asks for the
        // instance of each order.
        Err(Unstored::Unknown(error)) => {
            claimed::leave(app, &claim).await;
            Err(error)
        }
    }
}

/// The order of a call that made no row. Only while the claim is ours: else another call goes on with the
/// same order.
async fn take_back(app: &App, claim: &Claim, reason: &str) {
    if claimed::give_up(app, claim).await {
        app.billing.cancel(claim.instance_id, reason).await;
    }
}

/// Customers order for themselves; admins for whom they name.
fn customer_of(caller: &Caller, input: &CreateInput) -> Result<Uuid, Error> {
    let own = caller.user.ok_or(Error::Forbidden)?;
    match input.customer_id {
        Some(named) if named != own && caller.kind != instance::domain::ActorKind::Admin => {
            Err(Error::Forbidden)
        }
        named => Ok(named.unwrap_or(own)),
    }
}

/// The answer to a key that was seen before.
async fn repeated(app: &App, customer: Uuid, request: &Asked) -> Result<Option<Created>, Error> {
    let Some(key) = &request.key else { return Ok(None) };
    let mut connection = app.pool.acquire().await?;
    let now = store::now(&mut connection).await?;
    match idempotency::find(&mut connection, customer, key, now).await? {
        Some(remembered) => {
            answer_again(&mut connection, customer, &request.hash, &remembered).await.map(Some)
        }
        None => Ok(None),
    }
}
