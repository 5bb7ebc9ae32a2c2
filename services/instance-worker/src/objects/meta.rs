//! Labels, selectors and annotations, in one place (K8S-04).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use uuid::Uuid;

use super::names::Name;
use super::tenant::Tenant;

/// `app`: selects the pods of tenants.
pub const APP: &str = "app";
/// Value of [`APP`] on tenants.
pub const ODOO: &str = "odoo";
/// Value of [`APP`] on pods of jobs.
pub const ODOO_JOB: &str = "odoo-job";
/// Which instance a job works for (K8S-25): not the label of the instance's own pods.
pub const JOB_INSTANCE_ID: &str = "saasodoo.io/job-instance-id";
/// Which instance an object belongs to.
pub const INSTANCE_ID: &str = "saasodoo.io/instance-id";
/// Whose it is.
pub const CUSTOMER_ID: &str = "saasodoo.io/customer-id";
/// Made and repaired by the platform.
pub const MANAGED: &str = "saasodoo.io/managed";
/// Name of a pool.
pub const POOL: &str = "saasodoo.io/pool";
/// Id of a pool; the network policy of a tenant selects by it.
pub const POOL_ID: &str = "saasodoo.io/pool-id";
/// Display name.
pub const INSTANCE_NAME: &str = "saasodoo.io/instance-name";
/// On the pod template: a new value makes a new pod (INS-23).
pub const RESTARTED_AT: &str = "saasodoo.io/restarted-at";
/// On the Deployment: an operator works here, the reconciler waits (K8S-32).
pub const HOLD: &str = "saasodoo.io/hold";
/// On every object: hash of what was wanted, so that a part that is no longer wanted shows.
pub const SPEC_HASH: &str = "saasodoo.io/spec-hash";
/// On a Deployment: which form of the pod template it has. A worker of a lower one never changes it back.
pub const TEMPLATE: &str = "saasodoo.io/template";
/// Hash of a Secret's content.
pub const SECRET_HASH: &str = "saasodoo.io/secret-hash";
/// On a Secret that had to be made anew: the administrator's password in it is not the one that Odoo knows.
pub const ADMIN_PASSWORD: &str = "saasodoo.io/admin-password";
/// Value of [`ADMIN_PASSWORD`].
pub const UNKNOWN: &str = "unknown";
/// Host name below the base domain, for people with kubectl.
pub const SUBDOMAIN: &str = "saasodoo.io/subdomain";
/// Plan, for people with kubectl.
pub const PLAN: &str = "saasodoo.io/plan";
/// On a StatefulSet's template: hash of the configuration file.
pub const CONFIG_HASH: &str = "saasodoo.io/config-hash";

/// What selects the pods of one instance: of Deployment, Service and network policy.
pub fn selector(instance: Uuid) -> BTreeMap<String, String> {
    pairs([(APP, ODOO.to_owned()), (INSTANCE_ID, instance.to_string())])
}

/// The same as a text for the API.
pub fn selector_text(instance: Uuid) -> String {
    format!("{APP}={ODOO},{INSTANCE_ID}={instance}")
}

/// Every label of a tenant's pod. A new one here is a new pod for every tenant.
pub fn labels(tenant: &Tenant) -> BTreeMap<String, String> {
    let mut labels = selector(tenant.id);
    labels.extend(pairs([
        (CUSTOMER_ID, tenant.customer_id.to_string()),
        (MANAGED, "true".to_owned()),
        ("app.kubernetes.io/name", ODOO.to_owned()),
        ("app.kubernetes.io/instance", Name::tenant(tenant.id).to_string()),
        ("app.kubernetes.io/managed-by", "saasodoo".to_owned()),
        ("app.kubernetes.io/version", tenant.version.clone()),
    ]));
    labels
}

/// Metadata of a tenant's object: the labels of its pod, and what people look for.
pub fn of_tenant(tenant: &Tenant, name: &Name, namespace: &str) -> ObjectMeta {
    let mut labels = labels(tenant);
    labels.extend(pairs([(SUBDOMAIN, tenant.subdomain.clone()), (PLAN, label_value(&tenant.plan))]));
    ObjectMeta {
        name: Some(name.to_string()),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        annotations: Some(pairs([(INSTANCE_NAME, tenant.name.clone())])),
        ..ObjectMeta::default()
    }
}

/// Any text as the value of a label: what is not allowed there becomes a dash.
fn label_value(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let value: String = text.chars().take(63).map(allowed).collect();
    value.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// The instance that an object belongs to, by its labels.
pub fn instance_of(meta: &ObjectMeta) -> Option<Uuid> {
    let labels = meta.labels.as_ref()?;
    labels.get(INSTANCE_ID).and_then(|id| Uuid::parse_str(id).ok())
}

/// A map of owned text.
pub fn pairs<const N: usize>(entries: [(&str, String); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_plan_name_is_a_label() {
        assert_eq!(label_value("basic-monthly"), "basic-monthly");
        assert_eq!(label_value(" Größe/XL (alt) "), "Gr--e-XL--alt");
        assert_eq!(label_value(&"é".repeat(80)), "");
    }
}
