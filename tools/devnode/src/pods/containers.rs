//! The containers of one pod, in their order: volumes first, then init containers, then all others at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;

use super::container::{Ending, Life};
use super::registry::Entry;
use super::start::Starter;
use crate::context::Shared;
use crate::recipes;
use crate::simulated;
use crate::status::RestartPolicy;
use crate::volumes;

/// Wait before missing volumes are tried again, at first.
const VOLUME_RETRY: Duration = Duration::from_millis(250);

/// Time between two looks at the Secrets and ConfigMaps of a running pod.
const REFRESH: Duration = Duration::from_secs(10);

/// The containers of a pod.
pub(super) struct Containers {
    pub(super) context: Shared,
    pub(super) entry: Arc<Entry>,
    pub(super) pod_dir: PathBuf,
    pub(super) ending: Ending,
}

impl Containers {
    /// Runs them until all have ended for good.
    pub(super) async fn run(self) {
        let Some(volumes) = self.prepare().await else { return };
        let volumes = Arc::new(volumes);
        self.entry.change(|state| state.prepared = true);
        let spec = self.entry.pod().spec.clone().unwrap_or_default();
        let policy = RestartPolicy::of(&self.entry.pod());

        let mut sidecars = Vec::new();
        for container in spec.init_containers.iter().flatten() {
            if container.restart_policy.as_deref() == Some("Always") {
                let life = self.life(container, &volumes, RestartPolicy::Always, false);
                sidecars.push(tokio::spawn(life.run()));
                continue;
            }
            // An init container that failed is tried again unless the pod never restarts.
            let own =
                if policy == RestartPolicy::Never { RestartPolicy::Never } else { RestartPolicy::OnFailure };
            let code = self.life(container, &volumes, own, true).run().await;
            if code != Some(0) {
                self.ending.token.cancel();
                join_all(sidecars).await;
                return;
            }
        }

        let follows = !self.context.config.simulate && volumes::can_change(&self.entry.pod());
        let _responder = simulated::Responder::open(&self.context, &self.entry, &spec.containers).await;
        let lives =
            spec.containers.iter().map(|container| self.life(container, &volumes, policy, false).run());
        tokio::select! {
            _ = join_all(lives) => {}
            () = self.follow_changes(), if follows => {}
        }
        if !sidecars.is_empty() {
            self.ending.token.cancel();
            join_all(sidecars).await;
        }
    }

    fn life(
        &self,
        container: &Container,
        volumes: &Arc<BTreeMap<String, PathBuf>>,
        policy: RestartPolicy,
        finite: bool,
    ) -> Life {
        let starter = Starter {
            context: self.context.clone(),
            entry: self.entry.clone(),
            container: Arc::new(container.clone()),
            volumes: volumes.clone(),
            pod_dir: self.pod_dir.clone(),
            finite,
        };
        Life { starter, policy, ending: self.ending.clone() }
    }

    async fn volumes(&self, pod: &Pod) -> Result<BTreeMap<String, PathBuf>, volumes::Error> {
        volumes::prepare(&self.context.client, pod, self.entry.ip, &self.pod_dir, self.group(pod)).await
    }

    /// Stands for the pod's `fsGroup`: that of the server's user, where processes are another user's than the
    /// files.
    fn group(&self, pod: &Pod) -> Option<u32> {
        let spec = pod.spec.as_ref()?;
        spec.security_context.as_ref()?.fs_group?;
        let is_postgres = |container: &Container| {
            recipes::choose(container, &self.context.config) == recipes::Recipe::Postgres
        };
        let (_, group) = self.context.postgres.as_ref()?.user?;
        spec.containers.iter().any(is_postgres).then_some(group)
    }

    /// Brings changed Secrets and ConfigMaps into the files of the running pod, as a kubelet does.
    async fn follow_changes(&self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            let pod = self.entry.pod();
            // What is gone or not to be had stays as it was.
            if let Err(error) = self.volumes(&pod).await {
                tracing::debug!(pod = pod.name_any(), %error, "volumes are not refreshed");
            }
        }
    }

    /// Makes the volumes; waits for what is missing. None when the pod ends meanwhile.
    async fn prepare(&self) -> Option<BTreeMap<String, PathBuf>> {
        if self.context.config.simulate {
            return Some(BTreeMap::new());
        }
        let mut wait = VOLUME_RETRY;
        loop {
            let pod = self.entry.pod();
            let error = match self.volumes(&pod).await {
                Ok(volumes) => return Some(volumes),
                Err(error) => error,
            };
            self.context.events.warning(
                &pod,
                None,
                "FailedMount",
                format!("MountVolume.SetUp failed: {error}"),
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.ending.token.cancelled() => return None,
            }
            wait = wait.saturating_mul(2).min(Duration::from_secs(5));
        }
    }
}
