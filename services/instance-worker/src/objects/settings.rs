//! What the operator of the platform decided about all instances.

use super::catalogue::Catalogue;

/// Settings that go into objects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of tenants.
    pub tenants: String,
    /// Namespace of the platform and its pools.
    pub platform: String,
    /// Namespace of the ingress controller.
    pub ingress_namespace: String,
    /// Images of Odoo by version.
    pub catalogue: Catalogue,
    /// Storage class of instance volumes.
    pub storage_class: String,
    /// Storage class of pool volumes.
    pub pool_storage_class: String,
    /// Path of the probes.
    pub probe_path: String,
    /// User and group of tenant pods.
    pub run_as_user: i64,
    /// Requests as a part of limits.
    pub cpu_ratio: f64,
    /// Requests as a part of limits.
    pub memory_ratio: f64,
    /// Domain of tenant host names.
    pub base_domain: String,
    /// HTTPS at the edge.
    pub tls: bool,
    /// Secret of the wildcard certificate in the tenant namespace.
    pub tls_secret: Option<String>,
    /// Class of the Ingress.
    pub ingress_class: String,
}

impl Settings {
    /// Host name of a tenant.
    pub fn host(&self, subdomain: &str) -> String {
        format!("{subdomain}.{}", self.base_domain)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::objects::catalogue::Flavour;

    pub(crate) fn settings() -> Settings {
        Settings {
            tenants: "odoo-instances".into(),
            platform: "saasodoo".into(),
            ingress_namespace: "kube-system".into(),
            catalogue: Catalogue::try_new("bitnamilegacy/odoo:{version}", Some(Flavour::Bitnami), &[])
                .unwrap(),
            storage_class: "cephfs-quota".into(),
            pool_storage_class: "cephfs-quota".into(),
            probe_path: "/web/health".into(),
            run_as_user: 1001,
            cpu_ratio: 0.5,
            memory_ratio: 0.5,
            base_domain: "saasodoo.local".into(),
            tls: false,
            tls_secret: None,
            ingress_class: "traefik".into(),
        }
    }
}
