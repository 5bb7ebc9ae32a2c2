//! What this node knows of a pod's containers. Plain data; how it becomes a status is in `status`.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit code as a shell would report it: 128 + number after a signal.
    pub code: i32,
    /// Reason in the words of the kubelet.
    pub reason: String,
    /// Details for people.
    pub message: Option<String>,
    /// When this run began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// What a container does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not running, and to be started.
    Waiting {
        /// Reason in the words of the kubelet.
        reason: String,
        /// Details for people.
        message: Option<String>,
    },
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended, and not to be started again, or not yet.
    Ended(Ended),
}

impl Phase {
    /// Waiting for `reason`.
    pub fn waiting(reason: &str, message: Option<String>) -> Self {
        Self::Waiting { reason: reason.to_owned(), message }
    }
}

/// One container as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    /// Its name in the pod.
    pub name: String,
    /// Its image.
    pub image: String,
    /// What it does now.
    pub phase: Phase,
    /// How the run before ended.
    pub last: Option<Ended>,
    /// How often it was started again.
    pub restarts: i32,
    /// Its readiness probe says yes, or it has none.
    pub ready: bool,
    /// Its startup probe said yes, or it has none.
    pub started: bool,
}

impl ContainerState {
    fn new(container: &Container, reason: &str) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            phase: Phase::waiting(reason, None),
            last: None,
            restarts: 0,
            ready: false,
            started: false,
        }
    }
}

/// Why the node ended the pod as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Reason in the words of the kubelet, such as `Evicted`.
    pub reason: String,
    /// Details for people.
    pub message: String,
}

/// One pod as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodState {
    /// Its address.
    pub ip: Ipv4Addr,
    /// When this node saw it first.
    pub since: Timestamp,
    /// Its volumes are there.
    pub prepared: bool,
    /// Its init containers, in order.
    pub init: Vec<ContainerState>,
    /// Its containers.
    pub main: Vec<ContainerState>,
    /// Set when the node ended it as a whole.
    pub verdict: Option<Verdict>,
}

impl PodState {
    /// The state of a pod that this node has not started yet. A run before this one, of which the API still
    /// tells, counts as ended: its processes are gone.
    pub fn new(pod: &Pod, ip: Ipv4Addr, now: Timestamp) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let inits = spec.init_containers.unwrap_or_default();
        let reason = if inits.is_empty() { "ContainerCreating" } else { "PodInitializing" };
        let mut state = Self {
            ip,
            since: pod
                .status
                .as_ref()
                .and_then(|status| status.start_time.clone())
                .map_or(now, |time| time.0),
            prepared: false,
            init: inits.iter().map(|container| ContainerState::new(container, "PodInitializing")).collect(),
            main: spec.containers.iter().map(|container| ContainerState::new(container, reason)).collect(),
            verdict: None,
        };
        let earlier = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        for status in earlier.into_iter().flatten() {
            let Some(container) = state.main.iter_mut().find(|container| container.name == status.name)
            else {
                continue;
            };
            container.restarts = status.restart_count;
            let running = status.state.as_ref().and_then(|state| state.running.as_ref());
            if let Some(running) = running {
                container.restarts += 1;
                container.last = Some(Ended {
                    code: 137,
                    reason: "ContainerStatusUnknown".to_owned(),
                    message: Some("the node was restarted".to_owned()),
                    started: running.started_at.as_ref().map_or(now, |time| time.0),
                    finished: now,
                });
            }
        }
        state
    }

    /// A container by name.
    pub fn container(&self, name: &str) -> Option<&ContainerState> {
        self.init.iter().chain(&self.main).find(|container| container.name == name)
    }

    /// A container by name, to change it.
    pub fn container_mut(&mut self, name: &str) -> Option<&mut ContainerState> {
        self.init.iter_mut().chain(&mut self.main).find(|container| container.name == name)
    }

    /// All containers are ready.
    pub fn is_ready(&self) -> bool {
        self.verdict.is_none()
            && self
                .main
                .iter()
                .all(|container| container.ready && matches!(container.phase, Phase::Running { .. }))
    }
}
