//! Ingress `odoo-<uuid>` (K8S-13): the host name of a tenant, to its Service or to the page that says it is
//! off.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};

use super::meta;
use super::names::Name;
use super::service::{HTTP, WEBSOCKET};
use super::settings::Settings;
use super::tenant::{Route, Tenant};

/// Service in the tenant namespace that answers for instances that are off (INS-24).
pub const OFF_SERVICE: &str = "instance-off";

/// The wanted Ingress.
pub fn ingress(tenant: &Tenant, settings: &Settings) -> Ingress {
    let workers = settings.catalogue.image(&tenant.version).flavour.has_workers();
    let own = Name::tenant(tenant.id).to_string();
    let paths = match tenant.route {
        Route::Instance => {
            let websocket = if workers { WEBSOCKET } else { HTTP };
            vec![path("/", &own, HTTP), path("/websocket", &own, websocket)]
        }
        Route::Page(off) => vec![path("/", OFF_SERVICE, off.port().into())],
    };
    let host = settings.host(&tenant.subdomain);
    let mut metadata = meta::of_tenant(tenant, &Name::tenant(tenant.id), &settings.tenants);
    metadata.annotations.get_or_insert_default().insert(
        "traefik.ingress.kubernetes.io/router.entrypoints".into(),
        if settings.tls { "websecure" } else { "web" }.into(),
    );
    let tls = settings.tls.then(|| {
        vec![IngressTLS { hosts: Some(vec![host.clone()]), secret_name: settings.tls_secret.clone() }]
    });
    Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: Some(settings.ingress_class.clone()),
            rules: Some(vec![IngressRule { host: Some(host), http: Some(HTTPIngressRuleValue { paths }) }]),
            tls,
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    }
}

fn path(path: &str, service: &str, port: i32) -> HTTPIngressPath {
    HTTPIngressPath {
        path: Some(path.to_owned()),
        path_type: "Prefix".into(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: service.to_owned(),
                port: Some(ServiceBackendPort { number: Some(port), ..ServiceBackendPort::default() }),
            }),
            ..IngressBackend::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::off::Off;
    use crate::objects::{settings::tests::settings, tenant::tests::tenant};

    /// K8S-13
    #[test]
    fn the_host_name_leads_to_the_instance() {
        insta::assert_yaml_snapshot!(ingress(&tenant(), &settings()));
    }

    /// INS-24
    #[test]
    fn the_host_name_of_a_suspended_instance_leads_to_the_off_page() {
        let off = Tenant { route: Route::Page(Off::Suspended), ..tenant() };
        insta::assert_yaml_snapshot!(ingress(&off, &settings()));
    }

    #[test]
    fn with_tls_the_entry_point_is_secure() {
        let settings = Settings { tls: true, tls_secret: Some("wildcard".into()), ..settings() };
        let made = ingress(&tenant(), &settings);
        let annotations = made.metadata.annotations.unwrap();
        assert_eq!(annotations["traefik.ingress.kubernetes.io/router.entrypoints"], "websecure");
        assert_eq!(made.spec.unwrap().tls.unwrap()[0].secret_name.as_deref(), Some("wildcard"));
    }
}
