//! Service `odoo-<uuid>` (K8S-12).

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use super::names::Name;
use super::settings::Settings;
use super::tenant::Tenant;

/// HTTP port of Odoo.
pub const HTTP: i32 = 8069;
/// Websocket port of Odoo with workers.
pub const WEBSOCKET: i32 = 8072;

/// The wanted Service.
pub fn service(tenant: &Tenant, settings: &Settings) -> Service {
    let port = |name: &str, port: i32| ServicePort {
        name: Some(name.to_owned()),
        port,
        target_port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".into()),
        ..ServicePort::default()
    };
    Service {
        metadata: meta::of_tenant(tenant, &Name::tenant(tenant.id), &settings.tenants),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".into()),
            selector: Some(meta::selector(tenant.id)),
            ports: Some(vec![port("http", HTTP), port("websocket", WEBSOCKET)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{settings::tests::settings, tenant::tests::tenant};

    /// K8S-12
    #[test]
    fn the_service_selects_the_pod_by_app_and_instance() {
        insta::assert_yaml_snapshot!(service(&tenant(), &settings()));
    }
}
