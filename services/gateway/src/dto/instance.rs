//! Instances: orders, changes, what is shown of them.

use std::collections::BTreeMap;

use contracts::instance::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::checks::Checks;
use super::scalars::{Cpu, Size, Time, text, time};
use crate::problem::Problem;

/// What an instance is for.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceType {
    Development,
    Staging,
    Production,
}

impl InstanceType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// An order for an instance. What is absent comes from the plan or from the account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInstance {
    #[schema(min_length = 1, max_length = 100, example = "test-instance")]
    pub name: String,
    #[schema(example = "17")]
    pub odoo_version: Option<String>,
    #[schema(format = Email, max_length = 254, example = "admin@test.com")]
    pub admin_email: Option<String>,
    #[serde(default)]
    pub demo_data: bool,
    pub cpu_limit: Option<Cpu>,
    pub memory_limit: Option<Size>,
    #[schema(example = "10Gi")]
    pub storage_limit: Option<Size>,
    #[serde(default)]
    #[schema(max_length = 500, example = "the shop")]
    pub description: String,
    /// Absent: a slug of the name.
    #[schema(min_length = 3, max_length = 50, pattern = "^[a-z0-9-]+$", example = "test-instance")]
    pub subdomain: Option<String>,
    /// Also taken as `plan_name`.
    #[serde(alias = "plan_name")]
    #[schema(example = "basic-monthly")]
    pub plan: Option<String>,
    /// Absent: a trial when the account may have one.
    pub trial: Option<bool>,
    pub instance_type: Option<InstanceType>,
    /// A label; the real name is generated.
    #[schema(min_length = 1, max_length = 50, pattern = "^[a-z0-9_-]+$", example = "shop")]
    pub database_name: Option<String>,
    /// At most 20; keys and values of at most 63 characters.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// For another customer; admins only.
    pub customer_id: Option<Uuid>,
    /// Discount code.
    #[schema(min_length = 1, max_length = 50, example = "WELCOME10")]
    pub coupon: Option<String>,
}

fn labels_fit(labels: &BTreeMap<String, String>) -> bool {
    labels.len() <= 20 && labels.iter().all(|(key, value)| (1..=63).contains(&key.len()) && value.len() <= 63)
}

/// What is said of labels that do not fit.
const LABELS: &str = "must have at most 20 entries, keys and values of at most 63 characters";

impl CreateInstance {
    pub fn checked(self, idempotency_key: String) -> Result<pb::CreateInstanceRequest, Problem> {
        let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let database_fits = self
            .database_name
            .as_deref()
            .is_none_or(|name| (1..=50).contains(&name.len()) && name.chars().all(is_label));
        Checks::default()
            .text("name", &self.name, 1..=100)
            .optional("admin_email", self.admin_email.as_deref(), 3..=254)
            .text("description", &self.description, 0..=500)
            .optional("subdomain", self.subdomain.as_deref(), 3..=50)
            .optional("coupon", self.coupon.as_deref(), 1..=50)
            .that(database_fits, "database_name", "must have 1 to 50 of a-z, 0-9, _ and -")
            .that(labels_fit(&self.labels), "labels", LABELS)
            .done()?;
        Ok(pb::CreateInstanceRequest {
            idempotency_key,
            name: self.name,
            odoo_version: self.odoo_version,
            admin_email: self.admin_email,
            demo_data: self.demo_data,
            cpu_millis: self.cpu_limit.map(|cpu| cpu.0),
            memory_mib: self.memory_limit.map(|size| size.0),
            storage_mib: self.storage_limit.map(|size| size.0),
            description: self.description,
            subdomain: self.subdomain,
            plan: self.plan,
            trial: self.trial,
            instance_type: self.instance_type.map(|kind| kind.as_str().to_owned()),
            database_name: self.database_name,
            labels: self.labels.into_iter().collect(),
            customer_id: self.customer_id.map(|id| id.to_string()),
            coupon: self.coupon.unwrap_or_default(),
        })
    }
}

/// Fields that are absent stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateInstance {
    #[schema(min_length = 1, max_length = 100, example = "the shop")]
    pub name: Option<String>,
    #[schema(max_length = 500, example = "spare parts")]
    pub description: Option<String>,
    /// The contact; the login of Odoo's administrator stays.
    #[schema(format = Email, max_length = 254, example = "admin@test.com")]
    pub admin_email: Option<String>,
    pub labels: Option<BTreeMap<String, String>>,
    pub cpu_limit: Option<Cpu>,
    pub memory_limit: Option<Size>,
    /// Never smaller than now.
    #[schema(example = "20Gi")]
    pub storage_limit: Option<Size>,
}

impl UpdateInstance {
    pub fn checked(
        self,
        instance_id: String,
        expected_version: Option<i64>,
    ) -> Result<pb::UpdateInstanceRequest, Problem> {
        Checks::default()
            .optional("name", self.name.as_deref(), 1..=100)
            .optional("description", self.description.as_deref(), 0..=500)
            .optional("admin_email", self.admin_email.as_deref(), 3..=254)
            .that(self.labels.as_ref().is_none_or(labels_fit), "labels", LABELS)
            .done()?;
        Ok(pb::UpdateInstanceRequest {
            instance_id,
            name: self.name,
            description: self.description,
            admin_email: self.admin_email,
            labels: self.labels.map(|labels| pb::LabelMap { labels: labels.into_iter().collect() }),
            cpu_millis: self.cpu_limit.map(|cpu| cpu.0),
            memory_mib: self.memory_limit.map(|size| size.0),
            storage_mib: self.storage_limit.map(|size| size.0),
            expected_version,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Failure {
    #[schema(example = "image_unavailable")]
    pub reason: String,
    #[schema(example = "the Odoo image cannot be loaded")]
    pub message: String,
    pub at: Option<Time>,
}

impl From<pb::Failure> for Failure {
    fn from(failure: pb::Failure) -> Self {
        Self { at: time(failure.at.as_ref()), reason: failure.reason, message: failure.message }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CurrentOperation {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(example = "create")]
    pub kind: String,
    #[schema(minimum = 0, maximum = 100, example = 40)]
    pub progress: u32,
}

/// An instance. Fields with "operator" are absent for customers.
#[derive(Debug, Serialize, ToSchema)]
pub struct Instance {
    #[schema(format = Uuid)]
    pub id: String,
    #[schema(format = Uuid)]
    pub customer_id: String,
    #[schema(format = Uuid)]
    pub subscription_id: Option<String>,
    #[schema(example = "basic-monthly")]
    pub plan: String,
    #[schema(example = "basic")]
    pub plan_tier: String,
    #[schema(example = "test-instance")]
    pub name: String,
    pub description: String,
    #[schema(example = "17")]
    pub odoo_version: String,
    #[schema(example = "production")]
    pub instance_type: String,
    #[schema(example = "running")]
    pub status: String,
    /// running, stopped, suspended, terminated
    #[schema(example = "running")]
    pub desired_state: String,
    /// none, trial, paid, payment_required, closed
    #[schema(example = "trial")]
    pub billing_status: String,
    /// pending, provisioning, completed, failed
    #[schema(example = "completed")]
    pub provisioning_status: String,
    pub cpu_limit: Cpu,
    pub memory_limit: Size,
    #[schema(example = "10Gi")]
    pub storage_limit: Size,
    #[schema(example = "test-instance")]
    pub subdomain: String,
    #[schema(example = "http://test-instance.saasodoo.local")]
    pub external_url: String,
    /// Operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "http://odoo-0196f0c0.odoo-instances:8069")]
    pub internal_url: Option<String>,
    #[schema(format = Email)]
    pub admin_email: String,
    pub demo_data: bool,
    /// The label that was given.
    #[schema(example = "shop")]
    pub database_name: Option<String>,
    /// shared, dedicated
    #[schema(example = "shared")]
    pub db_type: Option<String>,
    #[schema(example = "odoo_0196f0c0_0196f0c0")]
    pub db_name: Option<String>,
    #[schema(example = "postgres-pool-1.saasodoo")]
    pub db_host: Option<String>,
    #[schema(example = 5432)]
    pub db_port: Option<u32>,
    /// Operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub db_server_id: Option<String>,
    /// Operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "odoo-0196f0c0")]
    pub deployment_name: Option<String>,
    /// Operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "odoo-instances")]
    pub namespace: Option<String>,
    pub error: Option<Failure>,
    pub current_operation: Option<CurrentOperation>,
    #[schema(example = "payment overdue")]
    pub suspended_reason: Option<String>,
    pub purge_after: Option<Time>,
    pub last_health_check: Option<Time>,
    pub labels: BTreeMap<String, String>,
    /// Also the `ETag`.
    pub version: i64,
    pub created_at: Option<Time>,
    pub updated_at: Option<Time>,
    pub started_at: Option<Time>,
}

impl Instance {
    /// As the caller may see it.
    pub fn shown(instance: pb::Instance, to_operator: bool) -> Self {
        let secret = |value: String| text(value).filter(|_| to_operator);
        Self {
            purge_after: time(instance.purge_after.as_ref()),
            last_health_check: time(instance.last_health_check.as_ref()),
            created_at: time(instance.created_at.as_ref()),
            updated_at: time(instance.updated_at.as_ref()),
            started_at: time(instance.started_at.as_ref()),
            id: instance.id,
            customer_id: instance.customer_id,
            subscription_id: text(instance.subscription_id),
            plan: instance.plan,
            plan_tier: instance.plan_tier,
            name: instance.name,
            description: instance.description,
            odoo_version: instance.odoo_version,
            instance_type: instance.instance_type,
            status: instance.status,
            desired_state: instance.desired_state,
            billing_status: instance.billing_status,
            provisioning_status: instance.provisioning_status,
            cpu_limit: Cpu(instance.cpu_millis),
            memory_limit: Size(instance.memory_mib),
            storage_limit: Size(instance.storage_mib),
            subdomain: instance.subdomain,
            external_url: instance.external_url,
            internal_url: secret(instance.internal_url),
            admin_email: instance.admin_email,
            demo_data: instance.demo_data,
            database_name: text(instance.database_name),
            db_type: text(instance.db_type),
            db_name: text(instance.db_name),
            db_host: text(instance.db_host),
            db_port: Some(instance.db_port).filter(|port| *port != 0),
            db_server_id: secret(instance.db_server_id),
            deployment_name: secret(instance.deployment_name),
            namespace: secret(instance.namespace),
            error: instance.error.map(Failure::from),
            current_operation: instance.current_operation.map(|now| CurrentOperation {
                id: now.id,
                kind: now.kind,
                progress: now.progress,
            }),
            suspended_reason: text(instance.suspended_reason),
            labels: instance.labels.into_iter().collect(),
            version: instance.version,
        }
    }
}

/// A new instance; with what its host name should have been, when it has another one.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedInstance {
    #[serde(flatten)]
    pub instance: Instance,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomain_notice: Option<SubdomainNotice>,
}

/// Nobody chose the host name, and the one of the display name could not be had. It stays as it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct SubdomainNotice {
    /// The one of the display name; empty when it gives none.
    #[schema(example = "www")]
    pub wanted: String,
    /// reserved, taken, invalid
    #[schema(example = "reserved")]
    pub reason: String,
    #[schema(example = "www is reserved, so the instance is reached at www-271i")]
    pub message: String,
}

impl SubdomainNotice {
    /// What the answer of a create says; `None`: the host name is the expected one.
    pub fn of(wanted: String, reason: String, subdomain: &str) -> Option<Self> {
        let why = match reason.as_str() {
            "" => return None,
            "invalid" => "the name gives no host name".to_owned(),
            reason => format!("{wanted} is {reason}"),
        };
        let message =
            format!("{why}, so the instance is reached at {subdomain}; this cannot be changed later");
        Some(Self { wanted, reason, message })
    }
}

/// An instance after a change; with the operation when a rollout follows.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdatedInstance {
    #[serde(flatten)]
    pub instance: Instance,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = Uuid)]
    pub operation_id: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InstanceList {
    pub instances: Vec<Instance>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SubdomainCheck {
    #[schema(example = "shop")]
    pub subdomain: String,
    pub available: bool,
    /// reserved, taken, invalid
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "taken")]
    pub reason: Option<String>,
    #[schema(example = "shop is taken")]
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "shop-7k2p")]
    pub suggestion: Option<String>,
}
