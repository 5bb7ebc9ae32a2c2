//! The pods that are bound to this node: one watch, one task for each pod.

pub mod backoff;
mod container;
mod containers;
mod probing;
pub mod registry;
mod start;
pub mod state;
mod worker;

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt as _};
use tokio_util::task::TaskTracker;

use self::registry::{Entry, key_of};
use self::state::PodState;
use crate::context::Shared;
use crate::watching::changes;

/// Follows the pods of this node without end and runs each in a task of `tasks`.
pub async fn follow(context: Shared, tasks: TaskTracker) {
    let api: Api<Pod> = Api::all(context.client.clone());
    let config = watcher::Config::default().fields(&format!("spec.nodeName={}", context.config.node_name));
    let mut manager = Manager { context, tasks, listed: None };
    let mut stream = std::pin::pin!(changes(api, config));
    while let Some(event) = stream.next().await {
        manager.handle(event);
    }
}

struct Manager {
    context: Shared,
    tasks: TaskTracker,
    /// Ids seen in a list that has not ended yet.
    listed: Option<HashSet<String>>,
}

impl Manager {
    fn handle(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listed = Some(HashSet::new()),
            Event::InitApply(pod) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(pod.uid().unwrap_or_default());
                }
                self.apply(pod);
            }
            Event::InitDone => {
                // What a list does not have was deleted while the watch was broken.
                let listed = self.listed.take().unwrap_or_default();
                for entry in self.context.pods.all() {
                    let pod = entry.pod();
                    if !listed.contains(&pod.uid().unwrap_or_default()) {
                        self.delete(&pod);
                    }
                }
            }
            Event::Apply(pod) => self.apply(pod),
            Event::Delete(pod) => self.delete(&pod),
        }
    }

    fn apply(&mut self, pod: Pod) {
        let (namespace, name) = key_of(&pod);
        if let Some(entry) = self.context.pods.get(&namespace, &name) {
            if entry.pod().metadata.uid == pod.metadata.uid {
                self.context.pods.update(&entry, pod);
                return;
            }
            // A pod of the same name replaced it while the watch was broken.
            self.delete(&entry.pod());
        }
        self.add(pod);
    }

    fn add(&mut self, pod: Pod) {
        let stateful = pod.owner_references().iter().any(|owner| owner.kind == "StatefulSet");
        let (namespace, name) = key_of(&pod);
        let keep = stateful.then(|| format!("{namespace}/{name}"));
        let wish =
            pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
        let ip = match self.context.addresses.take(keep.as_deref(), wish) {
            Ok(ip) => ip,
            Err(error) => {
                tracing::error!(
                    pod = name,
                    namespace,
                    error = format!("{error:#}"),
                    "pod without an address"
                );
                return;
            }
        };
        let state = PodState::new(&pod, ip, Timestamp::now());
        let entry = Arc::new(Entry::new(Arc::new(pod), ip, state));
        self.context.pods.insert(entry.clone());
        self.tasks.spawn(worker::run(self.context.clone(), entry));
    }

    fn delete(&mut self, pod: &Pod) {
        if let Some(entry) = self.context.pods.remove(pod) {
            entry.set_gone();
        }
    }
}
