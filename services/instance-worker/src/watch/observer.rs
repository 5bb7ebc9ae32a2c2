//! What pods show, written to the rows: facts, the status that follows from them, the timeline, and the end
//! of waits, in one transaction (K8S-22).

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use instance::domain::{DesiredState, Event, Instance, Status, transition};
use instance::store::events::{self, Cause};
use instance::store::observe::{self, Before, Conclusion};
use instance::store::{Scope, instances, monitoring};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::facts::{self, Around, Sighted};
use super::hold::on_hold;
use super::queue::Queue;
use crate::objects::{Name, meta};
use crate::worker::Worker;

/// Looks at once.
const LOOKERS: usize = 4;
/// Between looks for rows whose status and pod disagree: the time-bound causes.
const SWEEP: Duration = Duration::from_secs(5);
/// A pod that is not ready for so long is looked at.
const UNWELL_SECONDS: f64 = 75.0;

/// Writes what pods show.
#[derive(Debug)]
pub struct Observer {
    worker: Worker,
    generation: i64,
    queue: Queue<Uuid>,
    /// A pod that came or went may mean drift.
    drift: Queue<Uuid>,
}

impl Observer {
    /// Writes in the name of this generation of leader.
    pub fn new(worker: Worker, generation: i64, queue: Queue<Uuid>, drift: Queue<Uuid>) -> Self {
        Self { worker, generation, queue, drift }
    }

    /// Looks at one instance soon.
    pub fn look_at(&self, instance: Uuid) {
        self.queue.add(instance);
    }

    /// After a full list: every instance with a pod, and every one whose row says that it has one.
    pub async fn look_at_all(&self) {
        let pods = self.worker.cluster.cache().pods.all();
        let mut ids: HashSet<Uuid> = pods.iter().filter_map(|pod| meta::instance_of(&pod.metadata)).collect();
        let rows = async {
            let mut connection = self.worker.database.acquire().await?;
            observe::seen_with_pod(&mut connection).await
        };
        match rows.await {
            Ok(rows) => ids.extend(rows),
            Err(error) => tracing::warn!(error = %error, "cannot read which instances had a pod"),
        }
        for id in ids {
            self.queue.add(id);
        }
    }

    /// A machine was lost or came back: what runs there is looked at.
    pub fn look_at_node(&self, name: &str) {
        for pod in self.worker.cluster.cache().pods.all() {
            let there = pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref() == Some(name));
            if let Some(id) = meta::instance_of(&pod.metadata).filter(|_| there) {
                self.queue.add(id);
            }
        }
    }

    /// Works for ever.
    pub async fn run(&self) {
        let lookers = join_all((0..LOOKERS).map(|_| self.work()));
        tokio::select! {
            _ = lookers => {}
            () = self.sweep() => {}
        }
    }

    async fn work(&self) {
        loop {
            let id = self.queue.next().await;
            if let Err(error) = self.observe(id).await {
                tracing::warn!(instance.id = %id, error = %error, "what the pods show could not be written");
                self.queue.add_after(id, Duration::from_secs(1));
            }
            self.queue.done(id);
        }
    }

    async fn sweep(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            let rows = async {
                let mut connection = self.worker.database.acquire().await?;
                observe::disagreeing(&mut connection, UNWELL_SECONDS).await
            };
            match rows.await {
                Ok(ids) => ids.into_iter().for_each(|id| self.queue.add(id)),
                Err(error) => tracing::warn!(error = %error, "cannot look for instances that are unwell"),
            }
        }
    }

    async fn observe(&self, id: Uuid) -> sqlx::Result<()> {
        let cache = self.worker.cluster.cache();
        if !cache.pods.is_fresh() {
            // Nothing is known while the watch is broken; a list follows.
            return Ok(());
        }
        let pods = cache.pods.with_prefix(&format!("{}-", Name::tenant(id)));
        let sight = facts::sight(pods.iter().map(AsRef::as_ref));
        let memory = facts::last_end_was_memory(pods.iter().map(AsRef::as_ref));
        let mut tx = self.worker.database.begin().await?;
        if !monitoring::leads(&mut tx, self.generation).await? {
            return Ok(());
        }
        let Some(found) = instances::find(&mut tx, id, Scope::All).await? else { return Ok(()) };
        let sight = self.among(sight, &found.instance);
        let before = observe::sighting(&mut tx, id, &sight).await?;
        if let Some(before) = &before {
            self.tell(&mut tx, id, before, &sight, memory).await?;
        }
        self.decide(&mut tx, id, &sight).await?;
        tx.commit().await?;
        if let Some(before) = before {
            tracing::info!(instance.id = %id, phase = sight.phase, ready = sight.ready, reason = sight.reason,
                was = before.phase, "pod seen");
            self.drift.add(id);
        }
        Ok(())
    }

    /// With what the objects around the pods show.
    fn among(&self, sight: Sighted, instance: &Instance) -> Sighted {
        let cache = self.worker.cluster.cache();
        let name = Name::tenant(instance.id);
        let deployment = cache.deployments.get(name.as_str());
        let node = cache.nodes.get(&sight.node);
        let claim = (cache.claims.is_fresh() && keeps_data(instance))
            .then(|| cache.claims.get(Name::volume(instance.id).as_str()));
        let held = deployment
            .as_ref()
            .is_some_and(|found| on_hold(found.metadata.annotations.as_ref(), runtime::clock::now()));
        let around = Around {
            deployment: deployment.as_deref(),
            claim: claim.as_ref().map(Option::as_deref),
            node: node.as_deref(),
            held,
        };
        facts::among(sight, around)
    }

    async fn tell(
        &self,
        connection: &mut PgConnection,
        id: Uuid,
        before: &Before,
        sight: &Sighted,
        memory: bool,
    ) -> sqlx::Result<()> {
        let now = runtime::clock::now();
        if sight.restarts > before.restarts && before.phase != "not_found" {
            let (kind, message) = if memory {
                ("oom_killed", "Odoo used more memory than the instance has and was started again")
            } else {
                ("container_restarted", "Odoo ended and was started again")
            };
            events::add(connection, id, kind, Cause::Tenant, message, None, now).await?;
        }
        if let Some(news) = facts::told(&sight.reason).filter(|_| sight.reason != before.reason) {
            tracing::warn!(instance.id = %id, reason = news.reason, "seen around the pod");
            events::add(connection, id, news.reason, Cause::Platform, news.message, None, now).await?;
        }
        Ok(())
    }

    /// The status that follows from the facts, while no operation is at work. Terminated, suspended and
    /// maintenance do not know these events.
    async fn decide(&self, connection: &mut PgConnection, id: Uuid, sight: &Sighted) -> sqlx::Result<()> {
        let Some(found) = instances::find(connection, id, Scope::All).await? else { return Ok(()) };
        let instance = found.instance;
        let moved = matches!(
            instance.status,
            Status::Running | Status::Starting | Status::Restarting | Status::Error
        );
        let wants_pod = instance.desired_state == DesiredState::Running;
        if !moved || !wants_pod || !instance.is_provisioned() {
            return Ok(());
        }
        let now = runtime::clock::now();
        let Some((event, cause)) = verdict(&instance, sight, now) else { return Ok(()) };
        if observe::has_active_operation(connection, id).await? {
            return Ok(());
        }
        let Ok(status) = transition(instance.status, event) else { return Ok(()) };
        let conclusion = Conclusion {
            status,
            desired: instance.desired_state,
            provisioning: instance.provisioning_status,
            failure: cause.map(|cause| (cause.reason, cause.message)),
            started: cause.is_none(),
            purge_after: None,
            applied: false,
        };
        if observe::conclude(connection, &instance, &conclusion, now).await? {
            let (kind, message) = cause.map_or(("recovered", "the instance is running again"), |cause| {
                (cause.reason, cause.message)
            });
            events::add(connection, id, kind, Cause::Platform, message, None, now).await?;
            tracing::info!(instance.id = %id, status = %status, reason = kind, "status follows from the pod");
        }
        Ok(())
    }
}

/// Shall there be a volume with data? Not before the first start, and not while or after everything is taken
/// away.
fn keeps_data(instance: &Instance) -> bool {
    instance.is_provisioned()
        && instance.desired_state != DesiredState::Terminated
        && !matches!(instance.status, Status::Purged | Status::PendingPayment | Status::Creating)
}

/// What the facts say about an instance that shall run.
fn verdict(
    instance: &Instance,
    sight: &Sighted,
    now: OffsetDateTime,
) -> Option<(Event, Option<facts::Cause>)> {
    if sight.reason == facts::VOLUME_LOST {
        let lost = facts::hopeless(sight, 0).filter(|_| instance.status != Status::Error);
        return lost.map(|cause| (Event::Crashed, Some(cause)));
    }
    if sight.ready {
        return (instance.status != Status::Running).then_some((Event::BecameReady, None));
    }
    if instance.status == Status::Error {
        return None;
    }
    let same = instance.observed.phase == sight.phase && instance.observed.reason == sight.reason;
    let since = instance.observed.at.filter(|_| same);
    let seconds = since.map_or(0, |since| (now - since).whole_seconds());
    facts::unwell(sight, seconds).map(|cause| (Event::Crashed, Some(cause)))
}
