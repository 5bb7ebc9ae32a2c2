//! What every pod of the platform has to have, and who may reach whom.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Rendered;
use super::settings::Services;

/// The longest drain of a program and the pause before it.
const DRAIN_SECONDS: u64 = 25 + 5;

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn workloads(rendered: &Rendered) -> impl Iterator<Item = (&str, &Value)> {
    rendered.of("Deployment").chain(rendered.of("StatefulSet"))
}

/// INF-02, INF-11, INF-13, INF-14
pub fn faults(rendered: &Rendered) -> Vec<String> {
    let mut faults = Vec::new();
    let accounts: BTreeSet<&str> = rendered.of("ServiceAccount").map(|(name, _)| name).collect();
    let services: BTreeSet<&str> = rendered.of("Service").map(|(name, _)| name).collect();
    let budgets: BTreeSet<&str> = rendered.of("PodDisruptionBudget").map(|(name, _)| name).collect();
    for (workload, object) in workloads(rendered) {
        let template = &object["spec"]["template"];
        let pod = &template["spec"];
        let mut want = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{workload}: {what}"));
            }
        };
        for labels in [&object["metadata"]["labels"], &template["metadata"]["labels"]] {
            want(labels["app"] == workload, "label app");
            want(labels["app.kubernetes.io/name"] == workload, "label app.kubernetes.io/name");
            want(labels["app.kubernetes.io/part-of"] == "saasodoo", "label app.kubernetes.io/part-of");
        }
        want(services.contains(workload), "a Service");
        let account = pod["serviceAccountName"].as_str().unwrap_or_default();
        want(account == format!("{workload}-sa") && accounts.contains(account), "an account of its own");
        let token = pod["automountServiceAccountToken"] != false;
        want(token == (workload == "instance-worker"), "a token of Kubernetes in the worker alone");
        // The variables of Service links have the names of our settings.
        want(pod["enableServiceLinks"] == false, "no variables of Service links");
        want(pod["securityContext"]["runAsNonRoot"] == true, "runAsNonRoot");
        want(pod["securityContext"]["runAsUser"].as_u64().is_some_and(|id| id > 0), "runAsUser");
        want(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "seccomp");
        want(list(&pod["volumes"]).all(|volume| volume["hostPath"].is_null()), "no hostPath");
        for container in list(&pod["initContainers"]).chain(list(&pod["containers"])) {
            container_faults(container, &mut want);
        }
        for container in list(&pod["containers"]) {
            for probe in ["livenessProbe", "readinessProbe"] {
                want(container[probe].is_object(), probe);
            }
        }
        let program = list(&pod["containers"]).any(|container| container["args"][0] == "serve");
        if program {
            let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or_default();
            want(grace > DRAIN_SECONDS, "a grace period that is longer than the drain");
            want(budgets.contains(workload), "a PodDisruptionBudget");
            let strategy = &object["spec"]["strategy"];
            let rolls = strategy["rollingUpdate"]["maxUnavailable"] == 0;
            want(
                if workload == "instance-worker" { strategy["type"] == "Recreate" } else { rolls },
                "strategy",
            );
        }
    }
    faults
}

fn container_faults(container: &Value, want: &mut impl FnMut(bool, &str)) {
    let image = container["image"].as_str().unwrap_or_default();
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    want(!tag.is_empty() && tag != "latest", &format!("a version in {image}"));
    if image.starts_with("saasodoo/") {
        want(tag == env!("CARGO_PKG_VERSION"), &format!("{image} is not of this release"));
    }
    for part in ["requests", "limits"] {
        let amounts = &container["resources"][part];
        want(amounts["cpu"].is_string() && amounts["memory"].is_string(), &format!("{part} of {image}"));
    }
    let security = &container["securityContext"];
    want(security["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation: false");
    want(security["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem");
    want(security["capabilities"]["drop"][0] == "ALL", "no capabilities");
}

/// INF-11, INF-12: replicas, and processor and memory asked for and allowed. Overlays may differ.
pub fn size_faults(rendered: &Rendered) -> Vec<String> {
    let usual = ["200m", "256Mi", "1", "1Gi"];
    let large = ["500m", "512Mi", "2", "2Gi"];
    let mut faults = Vec::new();
    for (workload, object) in workloads(rendered) {
        let (replicas, size) = match workload {
            "instance-service" | "instance-worker" => (2, large),
            "postgres" => (1, ["500m", "1Gi", "2", "4Gi"]),
            "redis" => (1, ["100m", "256Mi", "500m", "1Gi"]),
            "rabbitmq" => (1, ["200m", "512Mi", "1", "2Gi"]),
            "instance-off" => (2, ["10m", "16Mi", "200m", "64Mi"]),
            _ => (2, usual),
        };
        let amounts = &object["spec"]["template"]["spec"]["containers"][0]["resources"];
        let [requests, limits] = [&amounts["requests"], &amounts["limits"]];
        let have = [&requests["cpu"], &requests["memory"], &limits["cpu"], &limits["memory"]];
        if object["spec"]["replicas"] != replicas || have.iter().zip(size).any(|(have, size)| *have != size) {
            faults.push(format!("{workload} has {} replicas of {have:?}", object["spec"]["replicas"]));
        }
    }
    faults
}

/// From, to and port.
type Edge = (String, String, u64);

/// Names of the pods of the platform's namespace that a peer selects.
fn selected(peer: &Value) -> Vec<String> {
    if !peer["namespaceSelector"].is_null() {
        return Vec::new();
    }
    let selector = &peer["podSelector"];
    let labels = &selector["matchLabels"];
    let values = list(&selector["matchExpressions"]).flat_map(|expression| list(&expression["values"]));
    [&labels["app"], &labels["app.kubernetes.io/name"]]
        .into_iter()
        .chain(values)
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}

/// Edges that the policies of one direction allow between the platform's own pods.
fn edges(rendered: &Rendered, direction: &str, peers: &str) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    let policies =
        rendered.of("NetworkPolicy").filter(|(_, policy)| policy["metadata"]["namespace"] == "saasodoo");
    for (_, policy) in policies {
        let Some(owner) =
            selected(&serde_json::json!({ "podSelector": policy["spec"]["podSelector"] })).pop()
        else {
            continue;
        };
        for rule in list(&policy["spec"][direction]) {
            for other in list(&rule[peers]).flat_map(selected) {
                for port in list(&rule["ports"]).filter_map(|port| port["port"].as_u64()) {
                    let (from, to) = if peers == "to" { (&owner, &other) } else { (&other, &owner) };
                    edges.insert((from.clone(), to.clone(), port));
                }
            }
        }
    }
    edges
}

/// INF-24: both ends allow the same, and what is allowed is what the programs' settings speak of.
pub fn network_faults(rendered: &Rendered, services: &Services) -> Vec<String> {
    let (sent, taken) = (edges(rendered, "egress", "to"), edges(rendered, "ingress", "from"));
    // Pools and Kill Bill are not deployed from here.
    let ours =
        |edge: &&Edge| [&edge.0, &edge.1].iter().all(|name| *name != "killbill" && *name != "postgres-pool");
    let mut wanted = BTreeSet::new();
    for (from, settings) in services {
        let mut need = |setting: &str, to: &str, port: u64| {
            if settings.known.contains(setting) {
                wanted.insert((from.clone(), to.to_owned(), port));
            }
        };
        need("POSTGRES_HOST", "postgres", 5432);
        need("RABBITMQ_HOST", "rabbitmq", 5672);
        need("REDIS_HOST", "redis", 6379);
        for to in services.keys() {
            need(&format!("{}_URL", to.replace('-', "_").to_uppercase()), to, 50051);
        }
    }
    if rendered.of("Deployment").any(|(name, _)| name == "mail-catcher") {
        // The sender's own policy allows the ports of mail everywhere.
        wanted.insert(("notification-service".to_owned(), "mail-catcher".to_owned(), 1025));
    }
    let everywhere = |edge: &&Edge| edge.1 != "mail-catcher";
    let mut faults = Vec::new();
    for (what, have) in [("leaves", &sent), ("is let in", &taken)] {
        let side = |edge: &&Edge| what != "leaves" || everywhere(edge);
        faults.extend(
            wanted.difference(have).filter(side).map(|edge| format!("{edge:?} is needed and never {what}")),
        );
        faults.extend(
            have.difference(&wanted).filter(ours).map(|edge| format!("{edge:?} {what} and nobody needs it")),
        );
    }
    faults
}

/// REL-11: all replicas together, one more of each while they are rolled, fit into the server and leave 20.
pub fn connection_faults(rendered: &Rendered) -> Vec<String> {
    let setting = |name: &str| rendered.config()[name].as_str().and_then(|text| text.parse::<u64>().ok());
    let each = setting("DB_POOL_SIZE").unwrap_or(10) + setting("DB_MAX_OVERFLOW").unwrap_or(0);
    let users = rendered.of("Deployment").filter(|(_, object)| {
        list(&object["spec"]["template"]["spec"]["containers"])
            .flat_map(|container| list(&container["env"]))
            .any(|variable| variable["name"] == "DB_SERVICE_PASSWORD")
    });
    let pods: u64 = users.map(|(_, object)| object["spec"]["replicas"].as_u64().unwrap_or(1) + 1).sum();
    let limit = rendered.of("StatefulSet").filter(|(name, _)| *name == "postgres").find_map(|(_, object)| {
        list(&object["spec"]["template"]["spec"]["containers"][0]["args"])
            .find_map(|argument| argument.as_str()?.strip_prefix("max_connections=")?.parse::<u64>().ok())
    });
    match limit {
        Some(limit) if pods > 0 && pods * each + 20 <= limit => Vec::new(),
        limit => vec![format!("{pods} pods with {each} connections each, and max_connections is {limit:?}")],
    }
}
