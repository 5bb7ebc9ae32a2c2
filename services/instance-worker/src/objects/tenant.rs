//! What the objects of one instance are made of.

use uuid::Uuid;

/// Where the instance's database is, as seen from its pod. No secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseAccess {
    /// The pool.
    pub server_id: Uuid,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub name: String,
}

/// The stored wish for one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Instance.
    pub id: Uuid,
    /// Owner.
    pub customer_id: Uuid,
    /// Display name: any text, so an annotation only (INS-03).
    pub name: String,
    /// Odoo version.
    pub version: String,
    /// CPU limit.
    pub cpu_millis: u32,
    /// Memory limit.
    pub memory_mib: u64,
    /// Volume size.
    pub storage_mib: u64,
    /// Host name below the base domain.
    pub subdomain: String,
    /// Load demo data at the first start.
    pub demo_data: bool,
    /// Its database.
    pub database: DatabaseAccess,
    /// Shall a pod run?
    pub running: bool,
    /// Shall the host name lead to the instance, or to the page that says it is off (INS-24)?
    pub routed: bool,
    /// Value of the annotation that makes a new pod (INS-23).
    pub restarted_at: Option<String>,
    /// Hash of the Secret's content: a changed Secret makes a new pod.
    pub secret_hash: Option<String>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tenant() -> Tenant {
        Tenant {
            id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            customer_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00c1),
            name: "Ünïcode / test".into(),
            version: "17".into(),
            cpu_millis: 1000,
            memory_mib: 2048,
            storage_mib: 10240,
            subdomain: "acme".into(),
            demo_data: false,
            database: DatabaseAccess {
                server_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00d1),
                host: "postgres-pool-1.saasodoo.svc.cluster.local".into(),
                port: 5432,
                name: "odoo_acme_01900000000070008000000000000001".into(),
            },
            running: true,
            routed: true,
            restarted_at: None,
            secret_hash: None,
        }
    }
}
