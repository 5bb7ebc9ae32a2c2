//! Names of Services and of pods behind them. Pods of this node are host processes and have no cluster DNS,
//! so names of the cluster in their environment are replaced by addresses when they start.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};

use crate::environment::cluster_names;
use crate::pods::registry::{Entry, Registry};
use crate::watching::changes;

/// The Services of the cluster, followed by a watch.
#[derive(Debug, Clone)]
pub struct Services {
    store: Store<Service>,
}

impl Services {
    /// Starts to follow them; gives the task that never ends.
    pub fn follow(client: Client) -> (Self, impl Future<Output = ()> + Send) {
        let (store, mut writer) = reflector::store();
        let stream = changes(Api::<Service>::all(client), watcher::Config::default());
        let task = stream.for_each(move |event| {
            writer.apply_watcher_event(&event);
            std::future::ready(())
        });
        (Self { store }, task)
    }

    /// A Service by name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<std::sync::Arc<Service>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }
}

/// The selector of a Service; a Service without one selects nothing.
pub fn selector(service: &Service) -> BTreeMap<String, String> {
    service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default()
}

/// A name of the cluster, taken apart.
#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Service { namespace: &'a str, service: &'a str },
    Pod { namespace: &'a str, pod: &'a str },
}

fn parse(name: &str) -> Option<Name<'_>> {
    let labels: Vec<&str> = name.split('.').collect();
    match labels.as_slice() {
        [service, namespace, "svc", ..] => Some(Name::Service { namespace, service }),
        [pod, _, namespace, "svc", ..] => Some(Name::Pod { namespace, pod }),
        _ => None,
    }
}

/// A text in which names of the cluster are addresses, as far as they are known now.
pub fn resolve_text(text: &str, services: &Services, pods: &Registry) -> String {
    if !text.contains(".svc") {
        return text.to_owned();
    }
    let mut result = text.to_owned();
    let names = cluster_names(text);
    // Longest first: a name can be the beginning of another.
    let mut names: Vec<&String> = names.iter().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    for name in names {
        if let Some(address) = resolve(name, services, pods) {
            result = result.replace(name.as_str(), &address.to_string());
        }
    }
    result
}

fn resolve(name: &str, services: &Services, pods: &Registry) -> Option<Ipv4Addr> {
    match parse(name)? {
        Name::Pod { namespace, pod } => pods.get(namespace, pod).map(|entry| entry.ip),
        Name::Service { namespace, service } => {
            let service = services.get(namespace, service)?;
            let found = pods.select(namespace, &selector(&service));
            let ready = found.iter().find(|entry| entry.is_ready());
            ready.or_else(|| found.first()).map(|entry| entry.ip)
        }
    }
}

/// Ready pods behind a Service, each with the port that the Service sends to.
pub fn backends(service: &Service, port: &ServicePort, pods: &Registry) -> Vec<(Ipv4Addr, u16)> {
    let namespace = service.namespace().unwrap_or_default();
    pods.select(&namespace, &selector(service))
        .iter()
        .filter(|entry| entry.is_ready())
        .filter_map(|entry| Some((entry.ip, target_port(service, port, entry)?)))
        .collect()
}

/// A port of a Service, by name or number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServicePort {
    /// By number.
    Number(i32),
    /// By name.
    Name(String),
}

fn target_port(service: &Service, port: &ServicePort, entry: &Entry) -> Option<u16> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let found = ports.iter().find(|candidate| match port {
        ServicePort::Number(number) => candidate.port == *number,
        ServicePort::Name(name) => candidate.name.as_ref() == Some(name),
    })?;
    match &found.target_port {
        None => u16::try_from(found.port).ok(),
        Some(target) => {
            let pod: std::sync::Arc<Pod> = entry.pod();
            let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
            containers.iter().find_map(|container| crate::probes::port_number(target, container))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_and_of_pods_are_told_apart() {
        assert_eq!(
            parse("pool.saasodoo.svc.cluster.local"),
            Some(Name::Service { namespace: "saasodoo", service: "pool" })
        );
        assert_eq!(
            parse("pool-0.pool.saasodoo.svc"),
            Some(Name::Pod { namespace: "saasodoo", pod: "pool-0" })
        );
        assert_eq!(parse("example.com"), None);
    }
}
