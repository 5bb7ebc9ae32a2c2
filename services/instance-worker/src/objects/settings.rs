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
    /// Port of the edge as customers see it.
    pub public_port: u16,
}

impl Settings {
    /// Host name of a tenant.
    pub fn host(&self, subdomain: &str) -> String {
        format!("{subdomain}.{}", self.base_domain)
    }

    /// URL for customers (K8S-13).
    pub fn external_url(&self, subdomain: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = self.host(subdomain);
        match self.public_port {
            80 | 443 => format!("{scheme}://{host}"),
            port => format!("{scheme}://{host}:{port}"),
        }
    }

    /// URL inside the cluster (K8S-12).
    pub fn internal_url(&self, instance: uuid::Uuid) -> String {
        format!("http://{}.{}.svc.cluster.local:8069", super::Name::tenant(instance), self.tenants)
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
            public_port: 80,
        }
    }

    /// K8S-13
    #[test]
    fn the_url_names_the_port_only_when_browsers_need_it() {
        let mut settings = settings();
        assert_eq!(settings.external_url("acme"), "http://acme.saasodoo.local");
        settings.public_port = 8088;
        assert_eq!(settings.external_url("acme"), "http://acme.saasodoo.local:8088");
        settings.tls = true;
        settings.public_port = 443;
        assert_eq!(settings.external_url("acme"), "https://acme.saasodoo.local");
    }
}
