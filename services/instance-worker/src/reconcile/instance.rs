//! One instance at a time: what its row wants against what is there.
//!
//! The row is read and let go before the cluster is asked; each write looks again whether the instance is
//! still at rest and the object as it was seen, so that an operation that began meanwhile is never undone.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use instance::domain::Instance;
use instance::store::events::{self, Cause};
use instance::store::observe::Reconcilable;
use instance::store::{Scope, instances, monitoring, observe};
use k8s_openapi::api::apps::v1::Deployment;
use sqlx::postgres::PgListener;
use uuid::Uuid;

use super::brake::Brake;
use super::fingerprint::fingerprint;
use super::parts::{Part, Parts, Repaired, Volume};
use super::repairs::Repairs;
use super::roll_out::{RollOut, is_new_template, wish_changed};
use super::troubles::{Trouble, Troubles};
use super::wanted::{Wanted, wanted};
use crate::cluster::{self, Note, Owner, Standing};
use crate::objects::{Name, Tenant};
use crate::operations::Wake;
use crate::watch::Status as WatchStatus;
use crate::watch::queue::Queue;
use crate::watch::{facts, on_hold};
use crate::worker::Worker;

/// Instances at once.
const WORKERS: usize = 8;
/// A deleted or edited object is compared after this, so that a burst of events is one look.
const SETTLE: Duration = Duration::from_millis(300);
/// While a former pod is on its way out, or a hold is on.
const AGAIN: Duration = Duration::from_secs(5);
/// Between looks whether an instance may be started anew with a new template.
const ROLL_OUT: Duration = Duration::from_secs(15);
/// Longest work on one instance; what is left is looked at again.
const DEADLINE: Duration = Duration::from_mins(2);

/// The reconciler of a leader.
#[derive(Debug)]
pub struct Reconciler {
    pub(super) worker: Worker,
    pub(super) repairs: Repairs,
    pub(super) queue: Queue<Uuid>,
    pub(super) interval: Duration,
    /// A full list of some kind was read.
    pub(super) listed: Wake,
    /// Instances that were found as wanted, and what that depended on.
    quiet: Mutex<HashMap<Uuid, u64>>,
    /// Secrets that were read and found untouched, by their version.
    secrets: Mutex<HashMap<Uuid, String>>,
    /// Instances with something that no repair brings back.
    troubles: Troubles,
    /// Objects that somebody changes again and again.
    brake: Brake,
    /// Instances that are started anew with a new template.
    roll_out: RollOut,
}

/// What a look at an instance found.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// As wanted.
    Quiet,
    /// Not ours to repair now; its row tells when it is.
    Elsewhere,
    /// Look again soon.
    Again(Duration),
}

/// What came of all repairs of one instance.
#[derive(Debug, Default)]
struct Outcome {
    repaired: Vec<&'static str>,
    left: Vec<&'static str>,
    later: bool,
    away: Vec<&'static str>,
    waits: bool,
    slowed: bool,
}

/// What an error says of the object. Where the server, the database or a neighbour did not answer, it says
/// nothing: the next look tells, and no customer hears of it, unless it lasts.
fn of_error(error: &anyhow::Error) -> Repaired {
    match error.downcast_ref::<cluster::Error>() {
        None | Some(cluster::Error::Unavailable(_) | cluster::Error::Conflict(_)) => Repaired::Away,
        Some(_) => Repaired::Back(vec![String::new()]),
    }
}

impl Reconciler {
    /// Works on `queue`, and on everything at least every `interval`.
    pub fn new(worker: Worker, repairs: Repairs, queue: Queue<Uuid>, interval: Duration) -> Self {
        Self {
            worker,
            repairs,
            queue,
            interval,
            listed: Wake::default(),
            quiet: Mutex::default(),
            secrets: Mutex::default(),
            troubles: Troubles::default(),
            brake: Brake::default(),
            roll_out: RollOut::default(),
        }
    }

    /// Something of this instance changed.
    pub fn look_at(&self, instance: Uuid) {
        self.queue.add_after(instance, SETTLE);
    }

    /// Anything of one kind may have changed: what a list no longer holds is a deletion.
    pub fn listed(&self, kind: &'static str) {
        tracing::debug!(kind, "listed");
        self.listed.now();
    }

    /// Works for ever.
    pub async fn run(&self, status: &WatchStatus) {
        let workers = join_all((0..WORKERS).map(|_| self.work()));
        tokio::select! {
            _ = workers => {}
            () = self.whole(status) => {}
            () = self.wished() => {}
            () = self.notified() => {}
        }
    }

    pub(super) fn quiet(&self) -> MutexGuard<'_, HashMap<Uuid, u64>> {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the metrics, by which an operator is called.
    pub(super) fn tell_troubles(&self) {
        self.repairs.tell(&self.troubles);
    }

    async fn work(&self) {
        loop {
            let id = self.queue.next().await;
            self.quiet().remove(&id);
            let look = tokio::time::timeout(DEADLINE, Box::pin(self.reconcile(id))).await;
            match look.unwrap_or_else(|_| Err(anyhow::anyhow!("not done in {} s", DEADLINE.as_secs()))) {
                Ok(Look::Quiet | Look::Elsewhere) => self.troubles.looked(id, true),
                Ok(Look::Again(pause)) => {
                    self.troubles.looked(id, true);
                    self.queue.add_after(id, pause);
                }
                Err(error) => {
                    self.troubles.looked(id, false);
                    tracing::warn!(instance.id = %id, error = format!("{error:#}"), "cannot reconcile");
                    self.queue.add_after(id, AGAIN);
                }
            }
            self.queue.done(id);
        }
    }

    /// Wishes of operators (MON-05), also those whose notification was lost.
    async fn wished(&self) {
        loop {
            if let Err(error) = self.wish().await {
                tracing::warn!(error = %error, "cannot read the wishes of operators");
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    async fn wish(&self) -> sqlx::Result<()> {
        let mut connection = self.worker.database.acquire().await?;
        let wishes = monitoring::wishes(&mut connection).await?;
        drop(connection);
        let Some(task) = wishes.reconcile_task else { return Ok(()) };
        match wishes.reconcile_instance {
            Some(id) => self.queue.add(id),
            None => drop(self.enqueue_all(true).await?),
        }
        let mut connection = self.worker.database.acquire().await?;
        monitoring::reconciled(&mut connection, task).await
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
        let found = instances::find(&mut connection, id, Scope::All).await?;
        drop(connection);
        let Some(found) = found else {
            self.forget(id);
            return Ok(Look::Elsewhere);
        };
        let instance = found.instance;
        if found.current.is_some() {
            // Its operation looks after it; what happens meanwhile is seen after its end.
            return Ok(Look::Again(AGAIN));
        }
        let row = Reconcilable { id, version: instance.version, updated_at: instance.updated_at };
        let mark = fingerprint(self.worker.cluster.cache(), &row);
        let look = match wanted(&instance) {
            None => {
                self.forget(id);
                Look::Elsewhere
            }
            Some(_) if self.on_hold(&instance) => return Ok(Look::Again(AGAIN)),
            Some(Wanted::NoWorkload(id)) => {
                self.forget(id);
                self.remove_workload(id).await?
            }
            Some(Wanted::Objects(tenant)) => Box::pin(self.objects(&instance, &tenant)).await?,
        };
        if let (Look::Quiet | Look::Elsewhere, Some(mark)) = (&look, mark) {
            self.quiet().insert(id, mark);
        }
        Ok(look)
    }

    /// Nothing of it is repaired any more.
    fn forget(&self, id: Uuid) {
        self.troubles.end(id);
        self.brake.end(id);
    }

    /// K8S-32: an operator works on the Deployment.
    fn on_hold(&self, instance: &Instance) -> bool {
        let name = Name::tenant(instance.id);
        let Some(object) = self.worker.cluster.cache().deployments.get(name.as_str()) else { return false };
        on_hold(object.metadata.annotations.as_ref(), runtime::clock::now())
    }

    async fn remove_workload(&self, id: Uuid) -> anyhow::Result<Look> {
        let (cluster, namespace) = (&self.worker.cluster, &self.worker.settings.tenants);
        let name = Name::tenant(id);
        let left = cluster.look_up::<Deployment>(namespace, name.as_str()).await?;
        if left.is_none_or(|left| left.metadata.deletion_timestamp.is_some()) {
            return Ok(Look::Quiet);
        }
        cluster.delete::<Deployment>(namespace, name.as_str(), Owner::Instance(id), None).await?;
        tracing::warn!(instance.id = %id, "a workload of a terminated instance was removed");
        Ok(Look::Again(AGAIN))
    }

    /// Each object by itself: what cannot be brought back is told and stops no other.
    async fn objects(&self, instance: &Instance, tenant: &Tenant) -> anyhow::Result<Look> {
        let id = instance.id;
        let parts = Parts { worker: &self.worker, instance, tenant };
        let volume = parts.volume().await?;
        let mut outcome = Outcome::default();
        for part in Part::ALL {
            // No pod is made or ended without its volume: the last of the data would go with it.
            if volume != Volume::Stands && matches!(part, Part::Claim | Part::Deployment) {
                continue;
            }
            let done = Box::pin(self.bring_back(&parts, part)).await;
            let done = done.unwrap_or_else(|error| {
                let refused = of_error(&error);
                let (object, error) = (part.kind(), format!("{error:#}"));
                tracing::warn!(instance.id = %id, object, error, "not repaired");
                refused
            });
            match done {
                Repaired::Nothing => {}
                Repaired::Updated => {
                    tracing::info!(instance.id = %id, object = part.kind(), "written as it is wanted by now");
                    self.repairs.count(part.kind());
                }
                Repaired::Back(left) => {
                    if left.is_empty() {
                        self.brake.repaired(id, part);
                    }
                    outcome.repaired.extend(left.is_empty().then_some(part.kind()));
                    outcome.left.extend((!left.is_empty()).then_some(part.kind()));
                }
                Repaired::Later => outcome.later = true,
                Repaired::Away => outcome.away.push(part.kind()),
                Repaired::Waits => outcome.waits = true,
                Repaired::Slowed => outcome.slowed = true,
            }
        }
        self.conclude(instance, volume, outcome).await
    }

    async fn bring_back(&self, parts: &Parts<'_>, part: Part) -> anyhow::Result<Repaired> {
        let id = parts.tenant.id;
        let version = (part == Part::Secret).then(|| self.secret_version(id)).flatten();
        let secrets = || self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let known = version.is_some() && secrets().get(&id) == version.as_ref();
        match parts.standing(part, known).await? {
            Standing::AsWanted => {
                if let Some(version) = version {
                    secrets().insert(id, version);
                }
                Ok(Repaired::Nothing)
            }
            Standing::Left(paths) => Ok(Repaired::Back(paths)),
            Standing::Differs(paths)
                if part == Part::Deployment && parts.tenant.running && is_new_template(&paths) =>
            {
                if !self.roll_out.begin(id, |id| self.has_ready_pod(id)) {
                    return Ok(Repaired::Waits);
                }
                tracing::info!(instance.id = %id, "started anew with the template of this release");
                Box::pin(parts.repair(part)).await
            }
            Standing::Differs(paths) if wish_changed(&paths) => Box::pin(parts.repair(part)).await,
            // An opened policy is never left open: it guards the neighbours, not this instance.
            Standing::Differs(_) | Standing::Missing
                if part != Part::Policy && self.brake.is_on(id, part) =>
            {
                Ok(Repaired::Slowed)
            }
            Standing::Differs(_) | Standing::Missing => Box::pin(parts.repair(part)).await,
        }
    }

    fn has_ready_pod(&self, id: Uuid) -> bool {
        let pods = &self.worker.cluster.cache().pods;
        pods.with_prefix(&format!("{}-", Name::tenant(id))).iter().any(|pod| facts::is_ready(pod))
    }

    /// Of the Secret as the watch sees it; `None` while it sees nothing.
    fn secret_version(&self, id: Uuid) -> Option<String> {
        let secrets = &self.worker.cluster.cache().secrets;
        let seen = secrets.get(Name::tenant(id).as_str()).filter(|_| secrets.is_fresh())?;
        seen.resource_version.clone()
    }

    async fn conclude(
        &self,
        instance: &Instance,
        volume: Volume,
        mut outcome: Outcome,
    ) -> anyhow::Result<Look> {
        let id = instance.id;
        outcome.left.extend(self.troubles.away(id, &outcome.away));
        let trouble = Trouble::of(volume, &outcome.left, &self.brake.fought(id));
        let news = self.troubles.set(id, trouble.clone());
        let mut connection = self.worker.database.acquire().await?;
        let now = runtime::clock::now();
        let stands = volume == Volume::Stands && outcome.left.is_empty() && !outcome.slowed;
        let whole = stands && !outcome.later && outcome.away.is_empty() && !outcome.waits;
        if whole && instance.observed_generation < instance.generation {
            observe::applied(&mut connection, id, instance.generation).await?;
        }
        for (event, message) in news {
            tracing::warn!(instance.id = %id, event, message, "not as wanted");
            events::add(&mut connection, id, event, Cause::Platform, &message, None, now).await?;
        }
        if !outcome.repaired.is_empty() {
            let message = format!("brought back as wanted: {}", outcome.repaired.join(", "));
            events::add(&mut connection, id, "repaired", Cause::Platform, &message, None, now).await?;
            drop(connection);
            tracing::info!(instance.id = %id, repaired = ?outcome.repaired, "drift repaired");
            for object in &outcome.repaired {
                self.repairs.count(object);
            }
            let namespace = &self.worker.settings.tenants;
            cluster::notify(&self.worker.cluster, namespace, id, None, Note::RepairApplied, &message).await;
        }
        Ok(match trouble {
            _ if outcome.later => Look::Again(Duration::from_secs(1)),
            _ if !outcome.away.is_empty() => Look::Again(AGAIN),
            _ if outcome.waits => Look::Again(ROLL_OUT),
            None => Look::Quiet,
            Some(_) => Look::Again(self.troubles.pause(id)),
        })
    }
}
