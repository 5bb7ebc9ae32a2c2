//! What the objects of one instance are made of.

use instance::domain::{DesiredState, Instance};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::off::Off;

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
    /// Plan, for a label.
    pub plan: String,
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
    /// Where the host name leads (INS-24).
    pub route: Route,
    /// Value of the annotation that makes a new pod (INS-23).
    pub restarted_at: Option<String>,
}

/// Where the host name of an instance leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To the instance itself.
    Instance,
    /// To the page that tells why it does not answer.
    Page(Off),
}

/// What shall be reachable and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// A pod.
    pub running: bool,
    /// Where the host name leads.
    pub route: Route,
}

impl Wish {
    /// What a desired state means for the objects.
    pub fn of(desired: DesiredState) -> Self {
        match desired {
            DesiredState::Running => Self { running: true, route: Route::Instance },
            DesiredState::Stopped => Self { running: false, route: Route::Page(Off::Stopped) },
            DesiredState::Suspended => Self { running: false, route: Route::Page(Off::Suspended) },
            DesiredState::Terminated => Self { running: false, route: Route::Page(Off::Terminated) },
        }
    }
}

impl Tenant {
    /// From the row; `None` while it has no database.
    pub fn of(instance: &Instance, wish: Wish) -> Option<Self> {
        let database = instance.database.as_ref()?;
        Some(Self {
            id: instance.id,
            customer_id: instance.customer_id,
            name: instance.name.clone(),
            plan: instance.plan.clone(),
            version: instance.odoo_version.clone(),
            cpu_millis: instance.limits.cpu_millis,
            memory_mib: instance.limits.memory_mib,
            storage_mib: instance.limits.storage_mib,
            subdomain: instance.subdomain.clone(),
            demo_data: instance.demo_data,
            database: DatabaseAccess {
                server_id: database.server_id,
                host: database.host.clone(),
                port: u16::try_from(database.port).ok()?,
                name: database.name.clone(),
            },
            running: wish.running,
            route: wish.route,
            restarted_at: instance.restarted_at.and_then(|at| at.format(&Rfc3339).ok()),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn tenant() -> Tenant {
        Tenant {
            id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001),
            customer_id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00c1),
            name: "Ünïcode / test".into(),
            plan: "basic-monthly".into(),
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
            route: Route::Instance,
            restarted_at: None,
        }
    }
}
