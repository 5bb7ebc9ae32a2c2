//! NetworkPolicy `odoo-<uuid>` (K8S-14): in from the ingress controller and the worker; out to DNS, its own
//! pool, and the outside world.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
    NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta;
use super::names::Name;
use super::service::{HTTP, WEBSOCKET};
use super::settings::Settings;
use super::tenant::Tenant;

/// Networks of clusters, hosts and cloud metadata: never reachable for a tenant.
const INNER_V4: [&str; 6] =
    ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];
const INNER_V6: [&str; 3] = ["::1/128", "fc00::/7", "fe80::/10"];
/// Web and mail submission.
const OUTSIDE: [i32; 4] = [80, 443, 465, 587];

/// The wanted policy.
pub fn network_policy(tenant: &Tenant, settings: &Settings) -> NetworkPolicy {
    NetworkPolicy {
        metadata: meta::of_tenant(tenant, &Name::tenant(tenant.id), &settings.tenants),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels(meta::selector(tenant.id))),
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(vec![
                    peer(&settings.ingress_namespace, "app.kubernetes.io/name", "traefik"),
                    peer(&settings.platform, "app.kubernetes.io/name", "instance-worker"),
                ]),
                ports: Some(vec![port(HTTP, "TCP"), port(WEBSOCKET, "TCP")]),
            }]),
            egress: Some(vec![
                NetworkPolicyEgressRule {
                    to: Some(vec![peer("kube-system", "k8s-app", "kube-dns")]),
                    ports: Some(vec![port(53, "UDP"), port(53, "TCP")]),
                },
                NetworkPolicyEgressRule {
                    to: Some(vec![peer(
                        &settings.platform,
                        meta::POOL_ID,
                        &tenant.database.server_id.to_string(),
                    )]),
                    ports: Some(vec![port(i32::from(tenant.database.port), "TCP")]),
                },
                NetworkPolicyEgressRule {
                    to: Some(vec![outside("0.0.0.0/0", &INNER_V4), outside("::/0", &INNER_V6)]),
                    ports: Some(OUTSIDE.map(|number| port(number, "TCP")).to_vec()),
                },
            ]),
        }),
    }
}

fn labels(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn peer(namespace: &str, key: &str, value: &str) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(labels(meta::pairs([(
            "kubernetes.io/metadata.name",
            namespace.to_owned(),
        )]))),
        pod_selector: Some(labels(meta::pairs([(key, value.to_owned())]))),
        ..NetworkPolicyPeer::default()
    }
}

fn outside(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: cidr.to_owned(),
            except: Some(except.iter().map(|&network| network.to_owned()).collect()),
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn port(number: i32, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number)),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{settings::tests::settings, tenant::tests::tenant};

    /// K8S-14
    #[test]
    fn a_tenant_reaches_its_pool_dns_and_the_outside_only() {
        insta::assert_yaml_snapshot!(network_policy(&tenant(), &settings()));
    }
}
