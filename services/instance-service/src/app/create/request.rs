//! What a create is asked for, and what it answers.

use std::collections::BTreeMap;

use instance::domain::{AskedLimits, Operation, SubdomainFault, SubdomainRules, names};
use instance::store::idempotency::Remembered;
use instance::store::instances::Found;
use instance::store::{Scope, instances, operations};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

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
    pub(super) fn limits(&self) -> AskedLimits {
        AskedLimits {
            cpu_millis: self.cpu_millis,
            memory_mib: self.memory_mib,
            storage_mib: self.storage_mib,
        }
    }

    pub(super) fn json(&self) -> Result<String, Error> {
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

/// A host name that its display name did not give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Altered {
    /// The one of the display name; empty when it is that one, or when the customer chose another.
    pub wanted: String,
    /// Why not: reserved, taken, invalid; empty with it.
    pub reason: &'static str,
}

impl Altered {
    /// Compares what was asked for with what the instance has.
    pub fn of(rules: &SubdomainRules, name: &str, chosen: bool, subdomain: &str) -> Self {
        let wanted = names::slug(name.trim());
        if chosen || wanted == subdomain {
            return Self::default();
        }
        let reason = match rules.check(&wanted) {
            Ok(_) => "taken",
            Err(SubdomainFault::Reserved) => "reserved",
            Err(SubdomainFault::Invalid) => "invalid",
        };
        Self { wanted, reason }
    }
}

/// A request as it is told from others: its key, and the hash of what came with it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) key: Option<String>,
    pub(super) hash: Vec<u8>,
}

/// The request of a call.
pub(super) fn request_of(key: &str, settings_json: &str) -> Result<Asked, Error> {
    if key.chars().count() > 200 || key.chars().any(char::is_control) {
        return Err(Error::invalid(
            "Idempotency-Key",
            "must have at most 200 characters, and no control characters",
        ));
    }
    let key = (!key.is_empty()).then(|| key.to_owned());
    Ok(Asked { key, hash: Sha256::digest(settings_json.as_bytes()).to_vec() })
}

/// What a repetition is answered with.
pub(super) async fn answer_again(
    connection: &mut PgConnection,
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
