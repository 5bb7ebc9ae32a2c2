//! Who reaches whom (K8S-14, INF-08): the policies as the cluster has them, evaluated for every pair that
//! matters.

use std::collections::BTreeMap;
use std::net::IpAddr;

use instance_worker::objects::network_policy::network_policy;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use sqlx::PgPool;
use uuid::Uuid;

use crate::account;
use crate::cluster::tenant;
use crate::stack::Stack;

type Labels = BTreeMap<String, String>;

/// Somebody who talks or is talked to.
#[derive(Clone)]
enum Party {
    Pod { namespace: String, labels: Labels },
    Address(IpAddr),
}

fn pod(namespace: &str, labels: &[(&str, &str)]) -> Party {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Party::Pod { namespace: namespace.to_owned(), labels }
}

fn address(text: &str) -> Party {
    Party::Address(text.parse().unwrap())
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let plain = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector.match_expressions.iter().flatten().all(|wanted| {
        assert_eq!(wanted.operator, "In", "another operator is not evaluated here");
        let value = labels.get(&wanted.key);
        wanted.values.iter().flatten().any(|one| value == Some(one))
    });
    plain && expressions
}

fn within(cidr: &str, address: IpAddr) -> bool {
    let (network, length) = cidr.split_once('/').unwrap();
    let length: u32 = length.parse().unwrap();
    match (network.parse().unwrap(), address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let shift = 32 - length;
            shift == 32 || u32::from(network) >> shift == u32::from(address) >> shift
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let shift = 128 - length;
            shift == 128 || u128::from(network) >> shift == u128::from(address) >> shift
        }
        _ => false,
    }
}

/// The policies of the cluster.
struct Policies(Vec<NetworkPolicy>);

impl Policies {
    /// Both ends must agree: the way out of one, and the way into the other.
    fn let_through(&self, from: &Party, to: &Party, port: i32) -> bool {
        self.out(from, to, port) && self.into(to, from, port)
    }

    fn of<'a>(&'a self, party: &Party, direction: &str) -> Vec<&'a NetworkPolicy> {
        let Party::Pod { namespace, labels } = party else { return Vec::new() };
        let about = |policy: &&NetworkPolicy| {
            let spec = policy.spec.as_ref().unwrap();
            policy.metadata.namespace.as_ref() == Some(namespace)
                && spec.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
                && spec.policy_types.iter().flatten().any(|kind| kind == direction)
        };
        self.0.iter().filter(about).collect()
    }

    fn out(&self, from: &Party, to: &Party, port: i32) -> bool {
        let policies = self.of(from, "Egress");
        let rules = policies
            .iter()
            .flat_map(|policy| policy.spec.iter().flat_map(|spec| spec.egress.iter().flatten()));
        let mut rules =
            rules.map(|rule| (policies_namespace(from), rule.to.as_deref(), rule.ports.as_deref()));
        policies.is_empty() || rules.any(|(own, peers, ports)| matches(own, peers, ports, to, port))
    }

    fn into(&self, to: &Party, from: &Party, port: i32) -> bool {
        let policies = self.of(to, "Ingress");
        let rules = policies
            .iter()
            .flat_map(|policy| policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten()));
        let mut rules =
            rules.map(|rule| (policies_namespace(to), rule.from.as_deref(), rule.ports.as_deref()));
        policies.is_empty() || rules.any(|(own, peers, ports)| matches(own, peers, ports, from, port))
    }
}

fn policies_namespace(party: &Party) -> &str {
    match party {
        Party::Pod { namespace, .. } => namespace,
        Party::Address(_) => "",
    }
}

fn matches(
    own: &str,
    peers: Option<&[NetworkPolicyPeer]>,
    ports: Option<&[NetworkPolicyPort]>,
    party: &Party,
    port: i32,
) -> bool {
    let peer = peers.is_none_or(|peers| peers.iter().any(|peer| is_peer(own, peer, party)));
    let number = |wanted: &NetworkPolicyPort| wanted.port == Some(IntOrString::Int(port));
    peer && ports.is_none_or(|ports| ports.iter().any(number))
}

fn is_peer(own: &str, peer: &NetworkPolicyPeer, party: &Party) -> bool {
    match (party, &peer.ip_block) {
        (Party::Address(address), Some(block)) => {
            within(&block.cidr, *address)
                && !block.except.iter().flatten().any(|network| within(network, *address))
        }
        (Party::Pod { namespace, labels }, None) => {
            let name = Labels::from([("kubernetes.io/metadata.name".to_owned(), namespace.clone())]);
            let there = match &peer.namespace_selector {
                None => namespace == own,
                Some(selector) => selects(selector, &name),
            };
            there && peer.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
        }
        _ => false,
    }
}

async fn policies(stack: &Stack, tenants: &[NetworkPolicy]) -> Policies {
    let own = "services/instance-worker/40-network-policies.yaml";
    let texts = ["20-default-deny.yaml", own]
        .map(|name| account::manifest(name, &stack.tenants, &stack.platform, "x"));
    account::kubectl(&["apply", "-f", "-"], &texts.join("\n---\n")).await;
    let api: Api<NetworkPolicy> = stack.api();
    for policy in tenants {
        let name = policy.metadata.name.as_deref().unwrap();
        api.patch(name, &PatchParams::apply("test"), &Patch::Apply(policy)).await.unwrap();
    }
    let mut all = Vec::new();
    for namespace in [&stack.tenants, &stack.platform] {
        let api: Api<NetworkPolicy> = Api::namespaced(stack.client.clone(), namespace);
        all.extend(api.list(&ListParams::default()).await.unwrap().items);
    }
    Policies(all)
}

/// K8S-14, INF-08
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn everybody_reaches_whom_they_must_and_nobody_else(database: PgPool) {
    let stack = Stack::start(database).await;
    let (tenants, platform) = (stack.tenants.as_str(), stack.platform.as_str());
    let settings = &stack.worker.settings;
    let (one, two) = (tenant(), tenant());
    let policies = policies(&stack, &[network_policy(&one, settings), network_policy(&two, settings)]).await;
    let odoo = |id: Uuid| {
        pod(
            tenants,
            &[("app", "odoo"), ("saasodoo.io/instance-id", &id.to_string()), ("saasodoo.io/managed", "true")],
        )
    };
    let pool = |id: Uuid| {
        pod(
            platform,
            &[("app.kubernetes.io/name", "postgres-pool"), ("saasodoo.io/pool-id", &id.to_string())],
        )
    };
    let of_platform = |name: &str| pod(platform, &[("app.kubernetes.io/name", name)]);
    let (first, second) = (odoo(one.id), odoo(two.id));
    let own_pool = pool(one.database.server_id);
    let worker = of_platform("instance-worker");
    let traefik = pod("kube-system", &[("app.kubernetes.io/name", "traefik")]);
    let dns = pod("kube-system", &[("k8s-app", "kube-dns")]);
    let stray = pod(tenants, &[("app", "odoo-job")]);
    let api_server = address("10.96.0.1");

    for (from, to, port, expected, what) in [
        (&traefik, &first, 8069, true, "visitors reach an instance"),
        (&worker, &first, 8069, true, "the worker asks an instance"),
        (&worker, &api_server, 443, true, "the worker reaches the API server"),
        (&first, &own_pool, 5432, true, "an instance reaches its own pool"),
        (&first, &dns, 53, true, "an instance looks names up"),
        (&first, &address("203.0.113.7"), 443, true, "an instance reaches the web"),
        (&first, &address("203.0.113.7"), 25, false, "no instance sends mail to strangers' servers"),
        (&first, &address("169.254.169.254"), 80, false, "no instance reads the cloud's metadata"),
        (&first, &api_server, 443, false, "no instance reaches the API server"),
        (&first, &address("192.168.1.1"), 443, false, "no instance reaches the network of the machines"),
        (&first, &pool(two.database.server_id), 5432, false, "no instance reaches another pool"),
        (&first, &second, 8069, false, "no instance reaches another one"),
        (&first, &worker, 50051, false, "no instance asks the worker"),
        (&first, &of_platform("gateway"), 8080, false, "no instance reaches the platform inside"),
        (&of_platform("gateway"), &first, 8069, false, "the platform's other parts do not reach instances"),
        (&traefik, &own_pool, 5432, false, "visitors reach no database"),
        (&own_pool, &address("203.0.113.7"), 443, false, "a database server calls nobody"),
        (&stray, &own_pool, 5432, false, "a pod without a policy of its own reaches nothing"),
        (&stray, &dns, 53, false, "a pod without a policy of its own reaches nothing"),
    ] {
        assert_eq!(policies.let_through(from, to, port), expected, "{what}");
    }
    let namespaces: Api<Namespace> = Api::all(stack.client.clone());
    let labels = namespaces.get(tenants).await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels["kubernetes.io/metadata.name"], tenants, "the policies select namespaces by it");
    stack.end().await;
}
