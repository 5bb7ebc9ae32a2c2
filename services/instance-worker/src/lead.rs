//! What a leader does: watches, observer, reconciler, pools, reports; all of it ends with the lead.

use std::sync::Arc;
use std::time::Duration;

use instance::store::{lease, monitoring};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::objects::meta;
use crate::operations::Wake;
use crate::reconcile::{Pools, Reconciler, Repairs};
use crate::watch::observer::Observer;
use crate::watch::queue::Queue;
use crate::watch::status::Status;
use crate::watch::stream::{Follow, Patience, Seen, Subject};
use crate::watch::trim;
use crate::worker::Worker;

/// Numbers and parts of a leader.
#[derive(Debug, Clone)]
pub struct Lead {
    /// Shared parts.
    pub worker: Worker,
    /// How the watches are.
    pub status: Status,
    /// Counters of repairs.
    pub repairs: Repairs,
    /// Between full comparisons.
    pub interval: Duration,
    /// MON-06
    pub auto_start: bool,
    /// A pool should be looked at.
    pub pools_wake: Wake,
    /// The monitoring row changed.
    pub monitoring_wake: Wake,
}

/// How often the report is written and the wishes are read.
const REPORT: Duration = Duration::from_secs(5);
/// DBS-14
const CONTACT: Duration = Duration::from_secs(30);
/// Longest wait for what is good to know but not needed.
const FIRST_LOOK: Duration = Duration::from_secs(10);
/// Kind of the pods' stream.
const PODS: &str = "pods";
/// Kinds that say something about the pod of an instance without being one.
const BESIDE_PODS: [&str; 3] = ["deployments", "volumes", "nodes"];
/// Kinds of the pools.
const POOLS: [&str; 2] = ["pools", "pool_pods"];

impl Lead {
    /// Leads until `lost`.
    pub async fn run(self, client: Client, identity: String, lost: CancellationToken) -> anyhow::Result<()> {
        self.status.set_leading(true);
        let generation = loop {
            match self.take_over(&identity).await {
                Ok(generation) => break generation,
                Err(error) => tracing::warn!(error = %error, "cannot take the lead in the database yet"),
            }
            tokio::select! {
                () = lost.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        };
        let contact = self.contact();
        let work = async {
            // A server that does not answer must not keep the leader from its work, nor from hearing that it
            // lost the lead.
            if tokio::time::timeout(FIRST_LOOK, self.verify_namespaces(&client)).await.is_err() {
                tracing::warn!("the cluster did not tell about the namespaces in time");
            }
            self.monitored(&client, generation).await
        };
        tokio::select! {
            () = lost.cancelled() => Ok(()),
            ended = work => ended,
            () = contact => Ok(()),
        }
    }

    /// K8S-03: the namespaces come from the manifests; the worker only looks whether they are as they should
    /// be.
    async fn verify_namespaces(&self, client: &Client) {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for name in [&self.worker.settings.tenants, &self.worker.settings.platform] {
            match namespaces.get_opt(name).await {
                Ok(Some(namespace)) if *name == self.worker.settings.tenants => {
                    for fault in faults_of_tenants(&namespace) {
                        tracing::warn!(
                            namespace = name,
                            fault,
                            "the namespace of tenants is not as it should be"
                        );
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    tracing::error!(namespace = name, "the namespace is missing: apply the manifests");
                }
                Err(error) => {
                    tracing::warn!(namespace = name, error = %error, "cannot look at the namespace");
                }
            }
        }
    }

    async fn take_over(&self, identity: &str) -> sqlx::Result<i64> {
        let mut connection = self.worker.database.acquire().await?;
        monitoring::take_over(&mut connection, identity, self.auto_start).await
    }

    /// Watches while operators want it; a wish for a restart makes all streams anew.
    async fn monitored(&self, client: &Client, generation: i64) -> anyhow::Result<()> {
        loop {
            let wishes = self.wishes().await;
            if wishes.leader_generation != generation && wishes.leader_generation != 0 {
                tracing::warn!("a newer leader has taken over");
                return Ok(());
            }
            if wishes.enabled == Some(false) {
                tracing::info!("monitoring is stopped by an operator");
                self.worker.cluster.cache().clear();
                self.pause(generation).await;
                continue;
            }
            tracing::info!("monitoring starts");
            tokio::select! {
                () = Box::pin(self.watch(client, generation)) => {}
                () = self.until_changed(wishes.restarts_wanted) => {}
            }
            self.worker.cluster.cache().clear();
        }
    }

    /// The wishes; waits for the database as long as it takes.
    async fn wishes(&self) -> monitoring::Wishes {
        loop {
            let read = async {
                let mut connection = self.worker.database.acquire().await?;
                monitoring::wishes(&mut connection).await
            };
            match read.await {
                Ok(wishes) => return wishes,
                Err(error) => tracing::warn!(error = %error, "cannot read the monitoring row"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn pause(&self, generation: i64) {
        self.status.set_leading(true);
        self.report(generation).await;
        tokio::select! {
            () = self.monitoring_wake.woken() => {}
            () = tokio::time::sleep(REPORT) => {}
        }
    }

    async fn until_changed(&self, restarts: i64) {
        loop {
            tokio::select! {
                () = self.monitoring_wake.woken() => {}
                () = tokio::time::sleep(REPORT) => {}
            }
            let wishes = self.wishes().await;
            if wishes.enabled == Some(false) || wishes.restarts_wanted != restarts {
                return;
            }
        }
    }

    async fn report(&self, generation: i64) {
        let tracked = self.worker.cluster.cache().deployments.len();
        let write = async {
            let mut connection = self.worker.database.acquire().await?;
            let depth = lease::queue_depth(&mut connection).await?;
            let seconds = i64::try_from(REPORT.as_secs()).unwrap_or(5);
            let report = self.status.report(tracked, depth, seconds);
            monitoring::report(&mut connection, generation, &report).await
        };
        match write.await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("the report of this leader is refused: a newer one leads"),
            Err(error) => tracing::warn!(error = %error, "cannot report on the watch"),
        }
    }

    async fn contact(&self) {
        loop {
            match self.worker.cluster.check().await {
                Ok(()) => {
                    let now = contracts::scalars::timestamp(runtime::clock::now());
                    if let Err(error) = self.worker.peers.report_contact(now).await {
                        tracing::debug!(error = %error, "database-service did not take the report of contact");
                    }
                }
                Err(error) => tracing::warn!(error = %error, "the cluster does not answer"),
            }
            tokio::time::sleep(CONTACT).await;
        }
    }

    /// All streams and those who work on what they see. Ends when one of them ends.
    async fn watch(&self, client: &Client, generation: i64) {
        let (sender, receiver) = unbounded_channel();
        let pods: Queue<Uuid> = Queue::default();
        let drift: Queue<Uuid> = Queue::default();
        let observer = Observer::new(self.worker.clone(), generation, pods.clone(), drift.clone());
        let reconciler =
            Reconciler::new(self.worker.clone(), self.repairs.clone(), drift.clone(), self.interval);
        let pools = Pools::new(self.worker.clone(), self.pools_wake.clone());
        let reports = async {
            loop {
                self.report(generation).await;
                tokio::time::sleep(REPORT).await;
            }
        };
        let dispatch = dispatch(receiver, &observer, &reconciler, &self.pools_wake);
        tokio::select! {
            () = Box::pin(self.streams(client, &sender)) => {}
            () = dispatch => {}
            () = Box::pin(observer.run()) => {}
            () = Box::pin(reconciler.run(&self.status)) => {}
            () = Box::pin(pools.run()) => {}
            () = reports => {}
        }
        tracing::warn!("monitoring ends");
    }

    async fn streams(&self, client: &Client, seen: &UnboundedSender<Seen>) {
        let settings = Arc::clone(&self.worker.settings);
        let (tenants, platform) = (settings.tenants.as_str(), settings.platform.as_str());
        let cache = self.worker.cluster.cache();
        let odoo = format!("{}={}", meta::APP, meta::ODOO);
        let pods: Api<Pod> = Api::namespaced(client.clone(), tenants);
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), tenants);
        let services: Api<Service> = Api::namespaced(client.clone(), tenants);
        let ingresses: Api<Ingress> = Api::namespaced(client.clone(), tenants);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), tenants);
        let policies: Api<NetworkPolicy> = Api::namespaced(client.clone(), tenants);
        // Only the metadata of Secrets leaves the server.
        let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(client.clone(), tenants);
        let nodes: Api<Node> = Api::all(client.clone());
        let sets: Api<StatefulSet> = Api::namespaced(client.clone(), platform);
        let pool_pods: Api<Pod> = Api::namespaced(client.clone(), platform);
        let patience = Patience::default();
        macro_rules! follow {
            ($kind:expr, $namespace:expr, $selector:expr, $store:expr, $trim:expr, $api:expr) => {
                Box::pin(
                    Follow {
                        kind: $kind,
                        namespace: $namespace,
                        selector: $selector,
                        store: $store,
                        trim: $trim,
                        patience,
                    }
                    .run($api, &self.status, seen),
                )
            };
        }
        let selector = Some(odoo.as_str());
        let pool = Some(meta::POOL);
        // Everything of the namespace but pods is followed, also what is not ours: a foreign object of one of
        // our names must be known (K8S-16).
        tokio::select! {
            () = follow!(PODS, tenants, selector, Some(&cache.pods), trim::pod, pods) => {}
            () = follow!("deployments", tenants, None, Some(&cache.deployments), trim::deployment, deployments) => {}
            () = follow!("services", tenants, None, Some(&cache.services), trim::service, services) => {}
            () = follow!("ingresses", tenants, None, Some(&cache.ingresses), trim::ingress, ingresses) => {}
            () = follow!("volumes", tenants, None, Some(&cache.claims), trim::claim, claims) => {}
            () = follow!("policies", tenants, None, Some(&cache.policies), trim::policy, policies) => {}
            () = follow!("secrets", tenants, None, Some(&cache.secrets), secret_metadata, secrets) => {}
            () = follow!("nodes", "", None, Some(&cache.nodes), trim::node, nodes) => {}
            () = follow!("pools", platform, pool, None, std::convert::identity, sets) => {}
            () = follow!("pool_pods", platform, pool, None, trim::pod, pool_pods) => {}
        }
    }
}

/// What the namespace of tenants lacks (K8S-03).
fn faults_of_tenants(namespace: &Namespace) -> Vec<&'static str> {
    let has = |(key, value, _): &(&str, &str, &str)| {
        namespace.labels().get(*key).is_some_and(|found| found == value)
    };
    let wanted = [
        ("saasodoo.io/managed", "true", "it is not marked as managed by the platform"),
        ("saasodoo.io/type", "instance-namespace", "it is not marked as the namespace of instances"),
        ("pod-security.kubernetes.io/enforce", "restricted", "it does not enforce restricted pods"),
    ];
    wanted.iter().filter(|label| !has(label)).map(|(_, _, fault)| *fault).collect()
}

fn secret_metadata(object: PartialObjectMeta<Secret>) -> ObjectMeta {
    trim::secret(object.metadata)
}

/// Leads what the streams see to those who work on it.
async fn dispatch(
    mut seen: UnboundedReceiver<Seen>,
    observer: &Observer,
    reconciler: &Reconciler,
    pools: &Wake,
) {
    while let Some(Seen { kind, subject }) = seen.recv().await {
        let about_pods = kind == PODS || BESIDE_PODS.contains(&kind);
        match subject {
            None if POOLS.contains(&kind) => pools.now(),
            None => {
                if about_pods {
                    observer.look_at_all().await;
                }
                if kind != PODS {
                    reconciler.listed(kind);
                }
            }
            Some(Subject::Instance(id)) => {
                if about_pods {
                    observer.look_at(id);
                }
                if kind != PODS {
                    reconciler.look_at(id);
                }
            }
            Some(Subject::Node(name)) => observer.look_at_node(&name),
            Some(Subject::Pool(_)) => pools.now(),
            Some(Subject::Foreign) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// K8S-03: what the manifests say is what is verified.
    #[test]
    fn the_namespace_of_tenants_has_its_labels_and_restricted_pods() {
        let manifest = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../infrastructure/orchestration/kubernetes/00-namespace.yaml"
        );
        let text = std::fs::read_to_string(manifest).unwrap();
        let tenants = text.split("---").find(|part| part.contains("name: odoo-instances")).unwrap();
        let labels = tenants.lines().filter_map(|line| line.trim().split_once(": "));
        let labels = labels.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()));
        let mut namespace = Namespace::default();
        namespace.metadata.labels = Some(labels.collect());
        assert_eq!(faults_of_tenants(&namespace), [""; 0]);

        for label in ["saasodoo.io/managed", "saasodoo.io/type", "pod-security.kubernetes.io/enforce"] {
            let mut without = namespace.clone();
            without.metadata.labels.as_mut().unwrap().remove(label).unwrap();
            assert_eq!(faults_of_tenants(&without).len(), 1, "{label}");
        }
        assert_eq!(faults_of_tenants(&Namespace::default()).len(), 3);
    }
}
