//! Names of an instance's objects and its URLs: from the full id only (K8S-04), so that they never depend on text
//! of a customer.

use uuid::Uuid;

/// A name that fits every kind of object: a DNS label of at most 63 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectName(String);

impl ObjectName {
    /// Longest name.
    pub const MAX: usize = 63;

    fn of(prefix: &'static str, id: Uuid) -> Self {
        Self(format!("{prefix}-{id}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.0
    }
}

/// `odoo-<uuid>`: Secret, Deployment, Service, Ingress and NetworkPolicy.
pub fn workload_name(id: Uuid) -> ObjectName {
    ObjectName::of(WORKLOAD, id)
}

/// `odoo-data-<uuid>`: the volume claim.
pub fn volume_name(id: Uuid) -> ObjectName {
    ObjectName::of(VOLUME, id)
}

const WORKLOAD: &str = "odoo";
const VOLUME: &str = "odoo-data";
const UUID_TEXT: usize = 36;
const _: () = assert!(WORKLOAD.len() + 1 + UUID_TEXT <= ObjectName::MAX);
const _: () = assert!(VOLUME.len() + 1 + UUID_TEXT <= ObjectName::MAX);

/// Where instances are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `BASE_DOMAIN`.
    pub base_domain: String,
    /// `INGRESS_PUBLIC_PORT`.
    pub public_port: u16,
    /// `TLS_ENABLED`.
    pub tls: bool,
    /// `ODOO_INSTANCES_NAMESPACE`.
    pub namespace: String,
}

impl Addresses {
    /// Host of an instance.
    pub fn host(&self, subdomain: &str) -> String {
        format!("{subdomain}.{}", self.base_domain)
    }

    /// URL for people; the port stands in it only when it is not the scheme's own.
    pub fn external_url(&self, subdomain: &str) -> String {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        let host = self.host(subdomain);
        if self.public_port == usual {
            format!("{scheme}://{host}")
        } else {
            format!("{scheme}://{host}:{}", self.public_port)
        }
    }

    /// URL inside the cluster (K8S-12).
    pub fn internal_url(&self, id: Uuid) -> String {
        format!("http://{}.{}.svc.cluster.local:8069", workload_name(id), self.namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(public_port: u16, tls: bool) -> Addresses {
        Addresses { base_domain: "example.org".into(), public_port, tls, namespace: "odoo-instances".into() }
    }

    #[test]
    fn names_come_from_the_full_id() {
        let id = Uuid::from_u128(7);
        assert_eq!(workload_name(id).as_str(), "odoo-00000000-0000-0000-0000-000000000007");
        assert_eq!(volume_name(id).as_str(), "odoo-data-00000000-0000-0000-0000-000000000007");
    }

    /// K8S-12, K8S-13
    #[test]
    fn urls_show_a_port_only_when_it_is_unusual() {
        assert_eq!(addresses(80, false).external_url("shop"), "http://shop.example.org");
        assert_eq!(addresses(443, true).external_url("shop"), "https://shop.example.org");
        assert_eq!(addresses(8081, false).external_url("shop"), "http://shop.example.org:8081");
        assert_eq!(addresses(80, true).external_url("shop"), "https://shop.example.org:80");
        assert_eq!(
            addresses(80, false).internal_url(Uuid::nil()),
            "http://odoo-00000000-0000-0000-0000-000000000000.odoo-instances.svc.cluster.local:8069"
        );
    }
}
