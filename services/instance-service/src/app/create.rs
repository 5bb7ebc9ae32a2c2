//! Create an instance (INS-01…14): check, claim, order, then everything that belongs to it in one
//! transaction. Host name and key are claimed before the order, so that whoever loses a race for them leaves
//! no order behind.

mod checked;
mod claimed;
mod stored;

use std::collections::BTreeMap;

use instance::domain::{AskedLimits, Operation};
use instance::store::claims::Claim;
use instance::store::idempotency::Remembered;
use instance::store::instances::Found;
use instance::store::{Scope, idempotency, instances, operations};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::claimed::Taken;
use self::stored::Unstored;
use super::App;
use super::who::Who;
use crate::clients::billing::Order;
use crate::error::Error;

/// What the customer sent, before any check. Its JSON is the order's settings and the ground of the
/// idempotency hash.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CreateInput {
    /// Display name.
    pub name: String,
    /// Major version.
    pub odoo_version: Option<String>,
    /// Login of the tenant's administrator.
    pub admin_email: Option<String>,
    /// With demonstration data.
    pub demo_data: bool,
    /// CPU.
    pub cpu_millis: Option<u32>,
    /// Memory.
    pub memory_mib: Option<u64>,
    /// Storage.
    pub storage_mib: Option<u64>,
    /// Display text.
    pub description: String,
    /// Host name.
    pub subdomain: Option<String>,
    /// Plan name.
    pub plan: Option<String>,
    /// Absent: a trial when the customer may have one.
    pub trial: Option<bool>,
    /// development, staging, production.
    pub instance_type: Option<String>,
    /// Label only (INS-11).
    pub database_name: Option<String>,
    /// Labels of the customer.
    pub labels: BTreeMap<String, String>,
    /// Admins order for others.
    pub customer_id: Option<Uuid>,
    /// Discount code.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub coupon: String,
}

impl CreateInput {
    fn limits(&self) -> AskedLimits {
        AskedLimits {
            cpu_millis: self.cpu_millis,
            memory_mib: self.memory_mib,
            storage_mib: self.storage_mib,
        }
    }

    fn json(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::Internal(error.into()))
    }
}

/// A new instance, or the one that the same key made before.
#[derive(Debug, Clone)]
pub struct Created {
    /// The row.
    pub found: Found,
    /// Its provisioning; none while it waits for a payment.
    pub operation: Option<Operation>,
}

/// A request as it is told from others: its key, and the hash of what came with it.
#[derive(Debug, Clone)]
struct Asked {
    key: Option<String>,
    hash: Vec<u8>,
}

/// The use case. `key` is the `Idempotency-Key`; empty: each call makes a new instance.
pub async fn create(app: &App, who: &Who, input: CreateInput, key: &str) -> Result<Created, Error> {
    let customer = customer_of(who, &input)?;
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
    match stored::store(app, who, &draft, &claim, &placed).await {
        Ok(created) if created.found.instance.id == id => Ok(created),
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
fn customer_of(who: &Who, input: &CreateInput) -> Result<Uuid, Error> {
    let own = who.user.ok_or(Error::Forbidden)?;
    match input.customer_id {
        Some(named) if named != own && who.kind != instance::domain::ActorKind::Admin => {
            Err(Error::Forbidden)
        }
        named => Ok(named.unwrap_or(own)),
    }
}

fn request_of(key: &str, settings_json: &str) -> Result<Asked, Error> {
    if key.chars().count() > 200 || key.chars().any(char::is_control) {
        return Err(Error::invalid(
            "Idempotency-Key",
            "must have at most 200 characters, and no control characters",
        ));
    }
    let key = (!key.is_empty()).then(|| key.to_owned());
    Ok(Asked { key, hash: Sha256::digest(settings_json.as_bytes()).to_vec() })
}

/// The answer to a key that was seen before.
async fn repeated(app: &App, customer: Uuid, request: &Asked) -> Result<Option<Created>, Error> {
    let Some(key) = &request.key else { return Ok(None) };
    let mut connection = app.pool.acquire().await?;
    let now = runtime::clock::now();
    match idempotency::find(&mut connection, customer, key, now).await? {
        Some(remembered) => {
            answer_again(&mut connection, customer, &request.hash, &remembered).await.map(Some)
        }
        None => Ok(None),
    }
}

async fn answer_again(
    connection: &mut sqlx::PgConnection,
    customer: Uuid,
    hash: &[u8],
    remembered: &Remembered,
) -> Result<Created, Error> {
    if remembered.request_hash != hash {
        return Err(Error::IdempotencyMismatch);
    }
    let found = instances::find(connection, remembered.instance_id, Scope::Owner(customer)).await?;
    let found = found.ok_or(Error::NotFound("instance"))?;
    let operation = operations::first(connection, remembered.instance_id).await?;
    Ok(Created { found, operation })
}
