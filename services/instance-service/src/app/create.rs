//! Create an instance (INS-01…14): check, order, then everything that belongs to it in one transaction.

mod checked;
mod stored;

use std::collections::BTreeMap;

use instance::domain::{AskedLimits, Operation};
use instance::store::idempotency::Remembered;
use instance::store::instances::Found;
use instance::store::{Scope, idempotency, instances, operations};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::App;
use super::who::Who;
use crate::clients::billing::Order;
use crate::error::Error;

/// What the customer sent, before any check. Its JSON is the order's settings and the ground of the idempotency hash.
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

/// A key and the hash of the request that it came with.
#[derive(Debug, Clone)]
struct Key {
    text: String,
    hash: Vec<u8>,
}

/// The use case. `key` is the `Idempotency-Key`; empty: each call makes a new instance.
pub async fn create(app: &App, who: &Who, input: CreateInput, key: &str) -> Result<Created, Error> {
    let customer = customer_of(who, &input)?;
    let (settings_json, coupon) = (input.json()?, input.coupon.clone());
    let key = key_of(key, &settings_json)?;
    if let Some(key) = &key
        && let Some(created) = repeated(app, customer, key).await?
    {
        return Ok(created);
    }
    let plan_name = input.plan.clone().unwrap_or_else(|| app.rules.default_plan.clone());
    let (account, plan) = tokio::try_join!(app.customers.find(customer), app.billing.plan(&plan_name))?;
    let account = account.ok_or_else(|| Error::invalid("customer_id", "is no account"))?;
    let draft = checked::check(&app.rules, customer, &account, &plan, input)?;
    // Cheap refusals come before the order; the transaction checks again.
    let mut connection = app.pool.acquire().await?;
    stored::check_room(&mut connection, &draft).await?;
    drop(connection);

    let id = Uuid::now_v7();
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
            if !matches!(error, Error::PlanUnavailable(_) | Error::PaymentRequired | Error::Invalid(_)) {
                app.billing.cancel(id, "the order was not confirmed").await;
            }
            return Err(error);
        }
    };
    let outcome = stored::store(app, who, &draft, id, &placed, key.as_ref()).await;
    match outcome {
        Ok(created) if created.found.instance.id == id => Ok(created),
        other => {
            let reason = other.as_ref().err().map_or("idempotent repetition", Error::reason);
            app.billing.cancel(id, reason).await;
            other
        }
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

fn key_of(text: &str, settings_json: &str) -> Result<Option<Key>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    if text.chars().count() > 200 {
        return Err(Error::invalid("Idempotency-Key", "must have at most 200 characters"));
    }
    Ok(Some(Key { text: text.to_owned(), hash: Sha256::digest(settings_json.as_bytes()).to_vec() }))
}

/// The answer to a key that was seen before.
async fn repeated(app: &App, customer: Uuid, key: &Key) -> Result<Option<Created>, Error> {
    let mut connection = app.pool.acquire().await?;
    let now = runtime::clock::now();
    match idempotency::find(&mut connection, customer, &key.text, now).await? {
        Some(remembered) => answer_again(&mut connection, customer, key, &remembered).await.map(Some),
        None => Ok(None),
    }
}

async fn answer_again(
    connection: &mut sqlx::PgConnection,
    customer: Uuid,
    key: &Key,
    remembered: &Remembered,
) -> Result<Created, Error> {
    if remembered.request_hash != key.hash {
        return Err(Error::IdempotencyMismatch);
    }
    let found = instances::find(connection, remembered.instance_id, Scope::Owner(customer)).await?;
    let found = found.ok_or(Error::NotFound("instance"))?;
    let operation = operations::first(connection, remembered.instance_id).await?;
    Ok(Created { found, operation })
}
