//! One instance at a time: what its row wants against what is there.
//!
//! The comparison reads caches and holds nothing. A repair locks the row, so that no operation begins meanwhile and the row cannot change under it.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use instance::domain::Instance;
use instance::store::events::{self, Cause};
use instance::store::{Scope, instances, monitoring, observe};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::repairs::Repairs;
use super::wanted::{Wanted, on_hold, wanted};
use crate::cluster::{self, Applied, Cluster, Error, Kind, LookAt, Note, Owner};
use crate::objects::deployment::deployment;
use crate::objects::ingress::ingress;
use crate::objects::network_policy::network_policy;
use crate::objects::service::service;
use crate::objects::volume::claim;
use crate::objects::{Name, Tenant};
use crate::operations::{claim_as_it_can_be, write_secret};
use crate::watch::Status as WatchStatus;
use crate::watch::queue::Queue;
use crate::worker::Worker;

/// Instances at once.
const WORKERS: usize = 8;
/// A deleted or edited object is compared after this, so that a burst of events is one look.
const SETTLE: Duration = Duration::from_millis(300);
/// While a former pod is on its way out, or a hold is on.
const AGAIN: Duration = Duration::from_secs(5);
const PAGE: i64 = 500;

/// The reconciler of a leader.
#[derive(Debug)]
pub struct Reconciler {
    worker: Worker,
    repairs: Repairs,
    queue: Queue<Uuid>,
    interval: Duration,
}

/// What a look at an instance found.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// As wanted, or not ours to repair now.
    Quiet,
    /// Look again soon.
    Again,
}

impl Reconciler {
    /// Works on `queue`, and on everything every `interval`.
    pub fn new(worker: Worker, repairs: Repairs, queue: Queue<Uuid>, interval: Duration) -> Self {
        Self { worker, repairs, queue, interval }
    }

    /// Something of this instance changed.
    pub fn look_at(&self, instance: Uuid) {
        self.queue.add_after(instance, SETTLE);
    }

    /// A full list of one kind was read; the full comparison covers it.
    pub fn listed(&self, kind: &'static str) {
        tracing::debug!(kind, "listed");
    }

    /// Works for ever.
    pub async fn run(&self, status: &WatchStatus) {
        let workers = join_all((0..WORKERS).map(|_| self.work()));
        tokio::select! {
            _ = workers => {}
            () = self.full(status) => {}
            () = self.wished() => {}
            () = self.notified() => {}
        }
    }

    async fn work(&self) {
        loop {
            let id = self.queue.next().await;
            match self.reconcile(id).await {
                Ok(Look::Quiet) => {}
                Ok(Look::Again) => self.queue.add_after(id, AGAIN),
                Err(error) => {
                    tracing::warn!(instance.id = %id, error = format!("{error:#}"), "cannot reconcile");
                    self.queue.add_after(id, AGAIN);
                }
            }
            self.queue.done(id);
        }
    }

    /// Everything: once when the watches are connected, then every interval.
    async fn full(&self, status: &WatchStatus) {
        loop {
            while !status.all_connected() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let began = std::time::Instant::now();
            match self.enqueue_all().await {
                Ok(count) => {
                    while !self.queue.is_empty() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    let took = began.elapsed().as_millis();
                    self.repairs.last_full_ms.set(i64::try_from(took).unwrap_or(i64::MAX));
                    tracing::info!(instances = count, took_ms = %took, "monitoring compared all instances");
                }
                Err(error) => tracing::warn!(error = %error, "cannot list the instances to compare"),
            }
            tokio::time::sleep(self.interval).await;
        }
    }

    async fn enqueue_all(&self) -> sqlx::Result<usize> {
        let mut after = Uuid::nil();
        let mut count = 0;
        let mut connection = self.worker.database.acquire().await?;
        loop {
            let page = observe::reconcilable(&mut connection, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = *last;
            count += page.len();
            for id in page {
                self.queue.add(id);
            }
        }
        let known: HashSet<Uuid> = observe::known_instances(&mut connection).await?.into_iter().collect();
        let orphans = super::compare::orphans(self.worker.cluster.cache(), &known);
        for orphan in &orphans {
            tracing::warn!(
                object = orphan.object,
                instance.id = orphan.instance_id,
                "an object of the platform belongs to no instance"
            );
        }
        self.repairs.orphans.set(i64::try_from(orphans.len()).unwrap_or(i64::MAX));
        Ok(count)
    }

    /// Wishes of operators (MON-05), also those whose notification was lost.
    async fn wished(&self) {
        loop {
            let work = async {
                let mut connection = self.worker.database.acquire().await?;
                let wishes = monitoring::wishes(&mut connection).await?;
                let Some(task) = wishes.reconcile_task else { return Ok(()) };
                match wishes.reconcile_instance {
                    Some(id) => self.queue.add(id),
                    None => drop(self.enqueue_all().await?),
                }
                monitoring::reconciled(&mut connection, task).await
            };
            let done: sqlx::Result<()> = work.await;
            if let Err(error) = done {
                tracing::warn!(error = %error, "cannot read the wishes of operators");
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Rows whose wanted objects changed without an operation, such as a new display name.
    async fn notified(&self) {
        loop {
            let session = async {
                let mut listener = PgListener::connect_with(&self.worker.database).await?;
                listener.listen("instances").await?;
                loop {
                    let notification = listener.recv().await?;
                    if let Ok(id) = Uuid::parse_str(notification.payload()) {
                        self.queue.add_after(id, Duration::from_secs(1));
                    }
                }
            };
            let Err(error): Result<std::convert::Infallible, sqlx::Error> = session.await;
            tracing::warn!(error = %error, "lost the listening connection, trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn reconcile(&self, id: Uuid) -> anyhow::Result<Look> {
        let mut connection = self.worker.database.acquire().await?;
        let Some(found) = instances::find(&mut connection, id, Scope::All).await? else {
            return Ok(Look::Quiet);
        };
        let instance = found.instance;
        if found.current.is_some() {
            // Its operation looks after it; what happens meanwhile is seen after its end.
            return Ok(Look::Again);
        }
        drop(connection);
        let Some(wanted) = wanted(&instance) else { return Ok(Look::Quiet) };
        if self.on_hold(&instance) {
            return Ok(Look::Again);
        }
        let differing = self.differing(&wanted).await?;
        if differing.is_empty() {
            if instance.observed_generation < instance.generation {
                let mut connection = self.worker.database.acquire().await?;
                observe::applied(&mut connection, id, instance.generation).await?;
            }
            return Ok(Look::Quiet);
        }
        self.repair(&instance, &wanted, &differing).await
    }

    /// K8S-32: an operator works on the Deployment.
    fn on_hold(&self, instance: &Instance) -> bool {
        let name = Name::tenant(instance.id);
        let Some(object) = self.worker.cluster.cache().deployments.get(name.as_str()) else { return false };
        on_hold(object.metadata.annotations.as_ref(), runtime::clock::now())
    }

    /// Kinds whose object is missing or changed.
    async fn differing(&self, wanted: &Wanted) -> Result<Vec<&'static str>, Error> {
        let (cluster, settings) = (&self.worker.cluster, &self.worker.settings);
        let mut found = Vec::new();
        match wanted {
            Wanted::NoWorkload(id) => {
                let name = Name::tenant(*id);
                let left = cluster.look_up::<Deployment>(&settings.tenants, name.as_str()).await?;
                if left.is_some_and(|left| left.metadata.deletion_timestamp.is_none()) {
                    found.push("Deployment");
                }
            }
            Wanted::Objects(tenant) => {
                let owner = Owner::Instance(tenant.id);
                if self.secret_is_missing(tenant).await? {
                    found.push("Secret");
                }
                let claim = claim_as_it_can_be(cluster, claim(tenant, settings)).await?;
                check(cluster, &claim, owner, "PersistentVolumeClaim", &mut found).await?;
                check(cluster, &service(tenant, settings), owner, "Service", &mut found).await?;
                check(cluster, &network_policy(tenant, settings), owner, "NetworkPolicy", &mut found).await?;
                check(cluster, &deployment(tenant, settings), owner, "Deployment", &mut found).await?;
                check(cluster, &ingress(tenant, settings), owner, "Ingress", &mut found).await?;
            }
        }
        Ok(found)
    }

    async fn secret_is_missing(&self, tenant: &Tenant) -> Result<bool, Error> {
        let cluster = &self.worker.cluster;
        let namespace = &self.worker.settings.tenants;
        let name = Name::tenant(tenant.id);
        if cluster.cache().secrets.is_fresh() {
            return Ok(cluster.cache().secrets.get(name.as_str()).is_none());
        }
        Ok(cluster.get::<Secret>(namespace, name.as_str()).await?.is_none())
    }

    async fn repair(
        &self,
        instance: &Instance,
        wanted: &Wanted,
        differing: &[&'static str],
    ) -> anyhow::Result<Look> {
        let id = instance.id;
        let mut tx = self.worker.database.begin().await?;
        if !observe::lock_at_rest(&mut tx, id, instance.version).await? {
            // An operation, or somebody's decision, came first.
            return Ok(Look::Again);
        }
        let tenant = match wanted {
            Wanted::NoWorkload(_) => {
                let name = Name::tenant(id);
                let namespace = &self.worker.settings.tenants;
                self.worker
                    .cluster
                    .delete::<Deployment>(namespace, name.as_str(), Owner::Instance(id), None)
                    .await?;
                tracing::warn!(instance.id = %id, "a workload of a terminated instance was removed");
                return Ok(Look::Quiet);
            }
            Wanted::Objects(tenant) => tenant,
        };
        if differing.contains(&"Deployment") && tenant.running && self.must_wait_for_old_pod(tenant).await? {
            return Ok(Look::Again);
        }
        let repaired = self.apply(tenant, &instance.admin_email).await?;
        if repaired.is_empty() {
            return Ok(Look::Quiet);
        }
        let message = format!("brought back as wanted: {}", repaired.join(", "));
        let now = runtime::clock::now();
        events::add(&mut tx, id, "repaired", Cause::Platform, &message, None, now).await?;
        observe::applied(&mut tx, id, instance.generation).await?;
        tx.commit().await?;
        tracing::info!(instance.id = %id, repaired = ?repaired, "drift repaired");
        for object in &repaired {
            self.repairs.count(object);
        }
        let namespace = &self.worker.settings.tenants;
        cluster::notify(&self.worker.cluster, namespace, id, None, Note::RepairApplied, &message).await;
        Ok(Look::Quiet)
    }

    /// Never two Odoos on one volume: a Deployment that is gone comes back when its pods are (K8S-31).
    async fn must_wait_for_old_pod(&self, tenant: &Tenant) -> Result<bool, Error> {
        let (cluster, settings) = (&self.worker.cluster, &self.worker.settings);
        let name = Name::tenant(tenant.id);
        if cluster.get::<Deployment>(&settings.tenants, name.as_str()).await?.is_some() {
            return Ok(false);
        }
        let left = cluster.pods_of(&settings.tenants, tenant.id).await?;
        if !left.is_empty() {
            tracing::info!(instance.id = %tenant.id, pods = left.len(), "the Deployment comes back when its former pods are gone");
        }
        Ok(!left.is_empty())
    }

    async fn apply(&self, tenant: &Tenant, admin_email: &str) -> anyhow::Result<Vec<&'static str>> {
        let (cluster, settings) = (&self.worker.cluster, &self.worker.settings);
        let owner = Owner::Instance(tenant.id);
        let mut repaired = Vec::new();
        let mut note = |object: &'static str, applied: &Applied| {
            if let Applied::Repaired { paths, .. } = applied {
                tracing::info!(instance.id = %tenant.id, object, paths = ?paths, "object differed");
            }
            if applied.changed() {
                repaired.push(object);
            }
        };
        if self.secret_is_missing(tenant).await? {
            let written = write_secret(&self.worker, tenant, admin_email, LookAt::Server)
                .await
                .map_err(|failure| anyhow::anyhow!("Secret: {}", failure.internal()))?;
            note("Secret", &written);
        }
        let claim = claim_as_it_can_be(cluster, claim(tenant, settings)).await?;
        note("PersistentVolumeClaim", &cluster.apply(&claim, owner, LookAt::Server).await?);
        note("Service", &cluster.apply(&service(tenant, settings), owner, LookAt::Server).await?);
        note(
            "NetworkPolicy",
            &cluster.apply(&network_policy(tenant, settings), owner, LookAt::Server).await?,
        );
        note("Deployment", &cluster.apply(&deployment(tenant, settings), owner, LookAt::Server).await?);
        note("Ingress", &cluster.apply(&ingress(tenant, settings), owner, LookAt::Server).await?);
        Ok(repaired)
    }
}

async fn check<K: Kind>(
    cluster: &Cluster,
    wanted: &K,
    owner: Owner<'_>,
    kind: &'static str,
    found: &mut Vec<&'static str>,
) -> Result<(), Error> {
    if !cluster.is_as_wanted(wanted, owner).await? {
        found.push(kind);
    }
    Ok(())
}
