//! The routes of all Ingresses as a pure table: host and path give a Service.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressBackend};
use kube::ResourceExt as _;

use crate::names::ServicePort;

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) port: ServicePort,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    path: String,
    exact: bool,
    backend: Backend,
}

impl Route {
    fn matches(&self, path: &str) -> bool {
        if self.exact {
            return path == self.path;
        }
        let prefix = self.path.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// Routes by host; the host `*` stands for all others.
#[derive(Debug, Default)]
pub(super) struct Table {
    hosts: HashMap<String, Vec<Route>>,
}

impl Table {
    /// The routes of these Ingresses; where two claim the same, the older one has it.
    pub(super) fn build(ingresses: &[Arc<Ingress>]) -> Self {
        let mut ingresses: Vec<&Arc<Ingress>> = ingresses.iter().collect();
        ingresses.sort_by_key(|ingress| {
            (ingress.creation_timestamp().map(|time| time.0), super::name_of(ingress))
        });
        let mut hosts: HashMap<String, Vec<Route>> = HashMap::new();
        for ingress in ingresses {
            let namespace = ingress.namespace().unwrap_or_default();
            let Some(spec) = &ingress.spec else { continue };
            for rule in spec.rules.iter().flatten() {
                let host =
                    rule.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| "*".to_owned());
                let routes = hosts.entry(host.to_ascii_lowercase()).or_default();
                for path in rule.http.iter().flat_map(|http| &http.paths) {
                    if let Some(backend) = backend(&namespace, &path.backend) {
                        let exact = path.path_type == "Exact";
                        routes.push(Route {
                            path: path.path.clone().unwrap_or_else(|| "/".to_owned()),
                            exact,
                            backend,
                        });
                    }
                }
            }
            if let Some(backend) = spec.default_backend.as_ref().and_then(|found| backend(&namespace, found))
            {
                let route = Route { path: "/".to_owned(), exact: false, backend };
                hosts.entry("*".to_owned()).or_default().push(route);
            }
        }
        for routes in hosts.values_mut() {
            // Stable: among equal paths the older Ingress stays first.
            routes.sort_by_key(|route| (!route.exact, std::cmp::Reverse(route.path.len())));
        }
        Self { hosts }
    }

    /// The Service for a host and path.
    pub(super) fn find(&self, host: &str, path: &str) -> Option<&Backend> {
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        [Some(host), wildcard.as_deref(), Some("*")]
            .into_iter()
            .flatten()
            .filter_map(|key| self.hosts.get(key))
            .find_map(|routes| routes.iter().find(|route| route.matches(path)))
            .map(|route| &route.backend)
    }
}

fn backend(namespace: &str, backend: &IngressBackend) -> Option<Backend> {
    let service = backend.service.as_ref()?;
    let port = service.port.as_ref()?;
    let port = match (&port.name, port.number) {
        (Some(name), _) => ServicePort::Name(name.clone()),
        (None, Some(number)) => ServicePort::Number(number),
        (None, None) => return None,
    };
    Some(Backend { namespace: namespace.to_owned(), service: service.name.clone(), port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::networking::v1::{
        HTTPIngressPath, HTTPIngressRuleValue, IngressRule, IngressServiceBackend, IngressSpec,
        ServiceBackendPort,
    };
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    fn path(path: &str, kind: &str, service: &str) -> HTTPIngressPath {
        HTTPIngressPath {
            path: Some(path.into()),
            path_type: kind.into(),
            backend: IngressBackend {
                service: Some(IngressServiceBackend {
                    name: service.into(),
                    port: Some(ServiceBackendPort { number: Some(80), name: None }),
                }),
                resource: None,
            },
        }
    }

    fn ingress(host: &str, paths: Vec<HTTPIngressPath>) -> Arc<Ingress> {
        let rule = IngressRule { host: Some(host.into()), http: Some(HTTPIngressRuleValue { paths }) };
        Arc::new(Ingress {
            metadata: ObjectMeta {
                namespace: Some("ns".into()),
                name: Some(host.into()),
                ..ObjectMeta::default()
            },
            spec: Some(IngressSpec { rules: Some(vec![rule]), ..IngressSpec::default() }),
            ..Ingress::default()
        })
    }

    fn found(table: &Table, host: &str, path: &str) -> Option<String> {
        table.find(host, path).map(|backend| backend.service.clone())
    }

    #[test]
    fn hosts_and_paths_choose_the_service() {
        let table = Table::build(&[
            ingress("a.localhost", vec![path("/", "Prefix", "web"), path("/websocket", "Prefix", "push")]),
            ingress("*.wild.localhost", vec![path("/only", "Exact", "wild")]),
        ]);

        assert_eq!(found(&table, "a.localhost", "/").as_deref(), Some("web"));
        assert_eq!(found(&table, "a.localhost", "/websocket/x").as_deref(), Some("push"));
        assert_eq!(found(&table, "a.localhost", "/websockets").as_deref(), Some("web"));
        assert_eq!(found(&table, "b.wild.localhost", "/only").as_deref(), Some("wild"));
        assert_eq!(found(&table, "b.wild.localhost", "/only/x"), None);
        assert_eq!(found(&table, "unknown.localhost", "/"), None);
    }
}
