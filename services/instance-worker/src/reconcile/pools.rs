//! Database pools (DBS-27): level-triggered. What database-service wants is compared with the cluster; what
//! is seen is reported to it. The volume of a pool goes some days after the pool, when database-service says
//! so.

use std::collections::HashMap;
use std::time::Duration;

use contracts::database::v1::{PoolSpec, ReportPoolRequest};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::cluster::{Error, LookAt, Owner};
use crate::config::Addressing;
use crate::objects::pool::{self, Pool};
use crate::objects::{Name, meta};
use crate::operations::Wake;
use crate::watch::facts;
use crate::worker::Worker;

/// Behind the watch and the messages.
const TIMER: Duration = Duration::from_secs(15);
/// A burst of events is one look.
const SETTLE: Duration = Duration::from_millis(50);

/// The pools' part of a leader.
#[derive(Debug)]
pub struct Pools {
    worker: Worker,
    wake: Wake,
    /// Last report of each pool: the same fact is told again only when database-service does not act on it.
    reported: Mutex<HashMap<String, ReportPoolRequest>>,
}

impl Pools {
    /// Woken by `wake`.
    pub fn new(worker: Worker, wake: Wake) -> Self {
        Self { worker, wake, reported: Mutex::default() }
    }

    /// Works for ever.
    pub async fn run(&self) {
        loop {
            match self.worker.peers.pool_specs().await {
                Ok(specs) => {
                    for spec in specs {
                        self.one(&spec).await;
                    }
                }
                Err(error) => tracing::warn!(error = %error, "cannot ask which pools there should be"),
            }
            tokio::select! {
                () = self.wake.woken() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(TIMER) => {}
            }
        }
    }

    async fn one(&self, spec: &PoolSpec) {
        let name = spec.name.as_str();
        let outcome = match wanted(spec) {
            Ok(pool) if spec.desired == "absent" => self.remove(&pool).await,
            Ok(pool) if spec.desired == "no_volume" => self.remove_volume(&pool).await,
            Ok(pool) => self.ensure(&pool, spec).await,
            Err(message) => {
                tracing::error!(pool = name, message, "database-service wants a pool that cannot be made");
                return;
            }
        };
        let observed = match outcome {
            Ok(report) => report,
            Err(Failed::Api(error)) if !error.is_retryable() => {
                tracing::error!(pool = name, error = %error, "the pool's objects cannot be made");
                ReportPoolRequest {
                    observed: "failed".to_owned(),
                    message: format!("its objects could not be made: {}", error.reason()),
                    ..ReportPoolRequest::default()
                }
            }
            Err(Failed::Api(error)) => {
                tracing::warn!(pool = name, error = %error, "pool is tried again");
                return;
            }
            Err(Failed::Peer(error)) => {
                tracing::warn!(pool = name, error = %error, "pool is tried again");
                return;
            }
        };
        self.report(spec, ReportPoolRequest { pool_id: spec.id.clone(), ..observed }).await;
    }

    async fn report(&self, spec: &PoolSpec, report: ReportPoolRequest) {
        let waits = matches!(spec.status.as_str(), "provisioning" | "initializing" | "deprovisioning");
        let mut reported = self.reported.lock().await;
        if reported.get(&spec.id) == Some(&report) && !waits {
            return;
        }
        match self.worker.peers.report_pool(report.clone()).await {
            Ok(()) => {
                self.worker.fail.at("pool.reported");
                if reported.get(&spec.id) != Some(&report) {
                    tracing::info!(pool = spec.name, observed = report.observed, "pool reported");
                }
                reported.insert(spec.id.clone(), report);
            }
            Err(error) => {
                tracing::warn!(pool = spec.name, error = %error, "database-service did not take a report");
            }
        }
    }

    async fn ensure(&self, pool: &Pool, spec: &PoolSpec) -> Result<ReportPoolRequest, Failed> {
        let (cluster, settings, fail) = (&self.worker.cluster, &self.worker.settings, &self.worker.fail);
        let owner = Owner::Pool(pool.name.as_str());
        let namespace = settings.platform.as_str();
        let existing: Option<StatefulSet> = cluster.get(namespace, pool.name.as_str()).await?;
        let claim: Option<PersistentVolumeClaim> = cluster.get(namespace, &pool.claim_name()).await?;
        if let Some(trouble) = trouble(spec, existing.as_ref(), claim.as_ref()) {
            // Nothing is applied: a new pod would end the last of the data, or begin with an empty volume.
            tracing::error!(pool = %pool.name, trouble, "the volume of a pool needs a person");
            return Ok(ReportPoolRequest {
                observed: "failed".to_owned(),
                message: format!("volume_lost: {trouble}"),
                ..ReportPoolRequest::default()
            });
        }
        if existing.as_ref().is_none_or(|set| annotation(set, meta::SECRET_HASH) != Some(&pool.secret_hash)) {
            let content = self.worker.peers.pool_secret(&spec.id).await?;
            cluster.write_unseen(&pool::secret(pool, &content, settings)).await?;
            fail.at("pool.secret");
        }
        cluster.apply(&pool::config_map(pool, settings), owner, LookAt::Server).await?;
        fail.at("pool.config_map");
        cluster.apply(&pool::service(pool, settings), owner, LookAt::Server).await?;
        fail.at("pool.service");
        let wanted = adapted(pool::stateful_set(pool, settings), existing.as_ref());
        if cluster.apply(&wanted, owner, LookAt::Server).await?.changed() {
            tracing::info!(pool = %pool.name, "pool applied");
        }
        fail.at("pool.stateful_set");
        let pod: Option<Pod> = cluster.get(namespace, &pool.pod_name()).await?;
        Ok(self.seen(pool, pod.as_ref()))
    }

    /// What the pod shows, and how it is reached.
    fn seen(&self, pool: &Pool, pod: Option<&Pod>) -> ReportPoolRequest {
        let applied = ReportPoolRequest { observed: "applied".to_owned(), ..ReportPoolRequest::default() };
        let Some(pod) = pod else { return applied };
        let sight = facts::sight([pod]);
        if sight.phase == "failed" {
            let message = format!("its pod does not run: {}", sight.reason);
            return ReportPoolRequest { observed: "failed".to_owned(), node: sight.node, message, ..applied };
        }
        if !sight.ready {
            return ReportPoolRequest { observed: "not_ready".to_owned(), node: sight.node, ..applied };
        }
        let dns = pool.host(&self.worker.settings);
        // Where pods have no DNS, tenants reach a pool by the address that its pod keeps for life.
        let (platform_host, tenant_host) = match self.worker.addressing {
            Addressing::ServiceDns => (dns.clone(), dns),
            Addressing::PodIp => (sight.pod_ip.clone(), sight.pod_ip),
            Addressing::PortForward => (sight.pod_ip, dns),
        };
        let port = u32::try_from(pool::PORT).unwrap_or(5432);
        ReportPoolRequest {
            observed: "ready".to_owned(),
            platform_host,
            platform_port: port,
            tenant_host,
            tenant_port: port,
            node: sight.node,
            ..applied
        }
    }

    /// Everything but the volume.
    async fn remove(&self, pool: &Pool) -> Result<ReportPoolRequest, Failed> {
        let (cluster, namespace) = (&self.worker.cluster, self.worker.settings.platform.as_str());
        let (name, owner) = (pool.name.as_str(), Owner::Pool(pool.name.as_str()));
        cluster.delete::<StatefulSet>(namespace, name, owner, None).await?;
        self.worker.fail.at("pool.set_deleted");
        cluster.delete::<Service>(namespace, name, owner, None).await?;
        cluster.delete::<ConfigMap>(namespace, name, owner, None).await?;
        cluster.delete_unseen::<Secret>(namespace, name).await?;
        self.worker.fail.at("pool.removed");
        Ok(ReportPoolRequest { observed: "removed".to_owned(), ..ReportPoolRequest::default() })
    }

    /// The volume too: the pool was removed some days ago. While anything still uses it, it stays.
    async fn remove_volume(&self, pool: &Pool) -> Result<ReportPoolRequest, Failed> {
        let (cluster, namespace) = (&self.worker.cluster, self.worker.settings.platform.as_str());
        let owner = Owner::Pool(pool.name.as_str());
        let set: Option<StatefulSet> = cluster.get(namespace, pool.name.as_str()).await?;
        if set.is_some() {
            return self.remove(pool).await;
        }
        let claim = pool.claim_name();
        cluster.delete::<PersistentVolumeClaim>(namespace, &claim, owner, None).await?;
        self.worker.fail.at("pool.volume_deleted");
        let left: Option<PersistentVolumeClaim> = cluster.get(namespace, &claim).await?;
        let observed = if left.is_some() { "removed" } else { "volume_removed" };
        Ok(ReportPoolRequest { observed: observed.to_owned(), ..ReportPoolRequest::default() })
    }
}

/// Why a pool is tried again.
enum Failed {
    Api(Error),
    Peer(crate::peers::Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Api(error)
    }
}

impl From<crate::peers::Error> for Failed {
    fn from(error: crate::peers::Error) -> Self {
        Self::Peer(error)
    }
}

/// Seconds. A claim that came so long after its pool is not the one that the pool began with. Longer than
/// database-service waits for a new pool (half an hour), since a quota may hold a first claim back.
const BEGINNING: i64 = 45 * 60;

/// What is wrong with the volume of a pool that served already. Data is not configuration: nothing is made in
/// its place until a person has looked.
fn trouble(
    spec: &PoolSpec,
    set: Option<&StatefulSet>,
    claim: Option<&PersistentVolumeClaim>,
) -> Option<&'static str> {
    if matches!(spec.status.as_str(), "provisioning" | "initializing") {
        return None;
    }
    let Some(claim) = claim else { return Some("its claim is gone") };
    let born = |metadata: &ObjectMeta| metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    let replaced = set.is_some_and(|set| {
        born(&set.metadata).zip(born(&claim.metadata)).is_some_and(|(set, claim)| claim > set + BEGINNING)
    });
    if claim.metadata.deletion_timestamp.is_some() {
        Some("its claim is being deleted: it goes as soon as the server stops")
    } else if facts::is_lost(claim) {
        Some("the volume behind its claim is gone")
    } else if replaced {
        Some("its claim was replaced by an empty one")
    } else {
        None
    }
}

fn annotation<'a>(set: &'a StatefulSet, key: &str) -> Option<&'a String> {
    set.metadata.annotations.as_ref()?.get(key)
}

/// Volume templates of a StatefulSet never change: an existing one keeps its own.
fn adapted(mut wanted: StatefulSet, existing: Option<&StatefulSet>) -> StatefulSet {
    let kept = existing
        .and_then(|set| set.spec.as_ref()?.volume_claim_templates.as_ref()?.first()?.spec.clone())
        .map(|spec| (spec.storage_class_name, spec.resources));
    let template = wanted
        .spec
        .as_mut()
        .and_then(|spec| spec.volume_claim_templates.as_mut()?.first_mut()?.spec.as_mut());
    if let (Some((class, resources)), Some(template)) = (kept, template) {
        template.storage_class_name = class;
        template.resources = resources;
    }
    wanted
}

fn wanted(spec: &PoolSpec) -> Result<Pool, String> {
    Ok(Pool {
        id: Uuid::parse_str(&spec.id).map_err(|error| format!("id: {error}"))?,
        name: Name::try_pool(spec.name.as_str()).map_err(|error| error.to_string())?,
        image: spec.image.clone(),
        storage: spec.storage.clone(),
        cpu_request: spec.cpu_request.clone(),
        cpu_limit: spec.cpu_limit.clone(),
        memory_request: spec.memory_request.clone(),
        memory_limit: spec.memory_limit.clone(),
        config: spec.config.clone(),
        admin_user: spec.admin_user.clone(),
        secret_hash: spec.secret_hash.clone(),
        instance_id: spec.instance_id.as_deref().and_then(|id| Uuid::parse_str(id).ok()),
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn born<K: kube::Resource + Default>(seconds: i64) -> K {
        let mut object = K::default();
        object.meta_mut().creation_timestamp = Some(Time(Timestamp::from_second(seconds).unwrap()));
        object
    }

    /// DBS-27: a pool that served is never begun again with an empty volume.
    #[test]
    fn a_pool_that_lost_its_volume_waits_for_a_person() {
        let spec = |status: &str| PoolSpec { status: status.into(), ..PoolSpec::default() };
        let set: StatefulSet = born(1000);
        let claim: PersistentVolumeClaim = born(1005);
        assert_eq!(trouble(&spec("provisioning"), None, None), None);
        assert_eq!(trouble(&spec("active"), Some(&set), Some(&claim)), None);
        assert_eq!(trouble(&spec("active"), None, Some(&claim)), None, "the same volume serves a new set");
        for status in ["active", "full", "maintenance", "error"] {
            assert!(trouble(&spec(status), Some(&set), None).is_some(), "{status}");
            assert!(trouble(&spec(status), None, None).is_some(), "{status}");
        }
        assert!(trouble(&spec("active"), Some(&set), Some(&born(100_000))).is_some(), "replaced");
        // A quota may hold the first claim back for as long as database-service waits for a new pool.
        let late = |seconds: i64| trouble(&spec("active"), Some(&set), Some(&born(1000 + seconds)));
        assert_eq!(late(30 * 60), None, "the first claim of a pool that had to wait for room");
        assert_eq!((late(BEGINNING), late(BEGINNING + 1).is_some()), (None, true));
        assert_eq!(BEGINNING, 45 * 60);
        let mut going = claim;
        going.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert!(trouble(&spec("active"), Some(&set), Some(&going)).is_some());
    }
}
