//! The containers of one pod, in their order: volumes first, then init containers, then all others at once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Container;

use super::container::{Ending, Life};
use super::registry::Entry;
use super::start::Starter;
use crate::context::Shared;
use crate::simulated;
use crate::status::RestartPolicy;
use crate::volumes;

/// Wait before missing volumes are tried again, at first.
const VOLUME_RETRY: Duration = Duration::from_millis(250);

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

        let _responder = simulated::Responder::open(&self.context, &self.entry, &spec.containers).await;
        let lives =
            spec.containers.iter().map(|container| self.life(container, &volumes, policy, false).run());
        join_all(lives).await;
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

    /// Makes the volumes; waits for what is missing. None when the pod ends meanwhile.
    async fn prepare(&self) -> Option<BTreeMap<String, PathBuf>> {
        if self.context.config.simulate {
            return Some(BTreeMap::new());
        }
        let mut wait = VOLUME_RETRY;
        loop {
            let pod = self.entry.pod();
            let error = match volumes::prepare(&self.context.client, &pod, self.entry.ip, &self.pod_dir).await
            {
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
