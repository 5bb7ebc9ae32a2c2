//! Facts of pods, pure (K8S-22): what is seen, and when it is hopeless to wait. Nothing is decided about an
//! instance here.

use instance::store::observe::Sight;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Node, PersistentVolumeClaim, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::BTreeMap;
use time::OffsetDateTime;

use crate::objects::deployment::CONTAINER;
use crate::objects::meta;

/// What is seen of an instance.
pub type Sighted = Sight;

/// No pod.
pub fn nothing() -> Sighted {
    Sight {
        phase: "not_found",
        ready: false,
        restarts: 0,
        reason: String::new(),
        node: String::new(),
        pod_ip: String::new(),
        started_at: None,
    }
}

/// Ready, and not on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some_and(|(ready, _)| ready)
}

/// Does the pod come from this template? Image, limits and the restart annotation tell.
pub fn runs_template(pod: &Pod, deployment: &Deployment) -> bool {
    let Some(template) = deployment.spec.as_ref().map(|spec| &spec.template) else { return false };
    let restarted = |annotations: Option<&BTreeMap<String, String>>| {
        annotations.and_then(|annotations| annotations.get(meta::RESTARTED_AT)).cloned()
    };
    let wanted_restart = restarted(template.metadata.as_ref().and_then(|m| m.annotations.as_ref()));
    let same_restart = restarted(pod.metadata.annotations.as_ref()) == wanted_restart;
    let wanted = template.spec.as_ref().and_then(|spec| spec.containers.first());
    let found = pod.spec.as_ref().and_then(|spec| spec.containers.iter().find(|c| c.name == CONTAINER));
    let (Some(wanted), Some(found)) = (wanted, found) else { return false };
    same_restart && wanted.image == found.image && covers(wanted.resources.as_ref(), found.resources.as_ref())
}

/// Every wanted limit and request is there with the wanted value; the cluster may add others.
fn covers(wanted: Option<&ResourceRequirements>, found: Option<&ResourceRequirements>) -> bool {
    let Some(wanted) = wanted else { return true };
    let Some(found) = found else { return false };
    let within = |wanted: &Option<BTreeMap<String, Quantity>>, found: &Option<BTreeMap<String, Quantity>>| {
        wanted.iter().flatten().all(|(key, value)| found.as_ref().and_then(|f| f.get(key)) == Some(value))
    };
    within(&wanted.limits, &found.limits) && within(&wanted.requests, &found.requests)
}

/// Has the controller seen the last wish, and is nothing left of the former ones?
pub fn is_scaled_down(deployment: &Deployment) -> bool {
    let status = deployment.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation) >= deployment.metadata.generation;
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    seen && wanted == 0 && status.and_then(|status| status.replicas).unwrap_or(0) == 0
}

/// What all pods of an instance together show. The newest one that stays tells; one on its way out only tells
/// that something is left.
pub fn sight<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> Sighted {
    let rank = |pod: &Pod| {
        let stays = pod.metadata.deletion_timestamp.is_none();
        let ended = matches!(phase_word(pod), "Failed" | "Succeeded");
        (stays, !ended, pod.metadata.creation_timestamp.clone())
    };
    pods.into_iter().max_by(|a, b| rank(a).cmp(&rank(b))).map_or_else(nothing, sight_of)
}

fn sight_of(pod: &Pod) -> Sighted {
    let status = pod.status.as_ref();
    let container = container(pod);
    let ready = is_ready(pod);
    let (phase, reason) = phase(pod, container, ready);
    let started = status.and_then(|status| status.start_time.as_ref()).map(|time| time.0.as_second());
    Sight {
        phase,
        ready,
        restarts: container.map_or(0, |container| container.restart_count),
        reason: reason.to_owned(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        pod_ip: status.and_then(|status| status.pod_ip.clone()).unwrap_or_default(),
        started_at: started.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok()),
    }
}

fn phase<'a>(pod: &'a Pod, container: Option<&'a ContainerStatus>, ready: bool) -> (&'static str, &'a str) {
    if pod.metadata.deletion_timestamp.is_some() {
        return ("running", "Terminating");
    }
    if ready {
        return ("running", "");
    }
    if phase_word(pod) == "Failed" {
        let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref()).unwrap_or("Failed");
        return ("failed", reason);
    }
    if let Some(reason) = container.and_then(trouble) {
        return ("failed", reason);
    }
    if let Some((false, reason)) = condition(pod, "PodScheduled") {
        return ("pending", reason);
    }
    if phase_word(pod) == "Running" { ("running", "NotReady") } else { ("pending", "") }
}

/// What keeps a container from running, in one word that does not flip between tries.
fn trouble(container: &ContainerStatus) -> Option<&'static str> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?.reason.as_deref().unwrap_or_default();
    match waiting {
        "CrashLoopBackOff" if ended_by_memory(container) => Some("OOMKilled"),
        "CrashLoopBackOff" | "RunContainerError" | "StartError" => Some("CrashLoopBackOff"),
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
            Some("ImagePullBackOff")
        }
        "CreateContainerConfigError" | "CreateContainerError" => Some("CreateContainerConfigError"),
        _ => None,
    }
}

/// Was the last end of the container the kernel's, for want of memory?
fn ended_by_memory(container: &ContainerStatus) -> bool {
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    last.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"))
}

/// Did the last restart come from want of memory?
pub fn last_end_was_memory<'a>(pods: impl IntoIterator<Item = &'a Pod>) -> bool {
    pods.into_iter().filter_map(container).any(ended_by_memory)
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == CONTAINER).or_else(|| statuses.first())
}

fn phase_word(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(bool, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status == "True", found.reason.as_deref().unwrap_or_default()))
}

/// A cause that waiting does not mend, for the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause {
    /// Reason word.
    pub reason: &'static str,
    /// Safe text.
    pub message: &'static str,
}

/// Ends in a row that are no accident any more.
const CRASHES: i32 = 3;

/// The data of the instance is gone: nothing is made in its place (K8S-05).
pub const VOLUME_LOST: &str = "VolumeLost";
/// The volume goes as soon as no pod uses it any more.
pub const VOLUME_DELETING: &str = "VolumeDeleting";
/// The machine is not heard of any more.
pub const NODE_LOST: &str = "NodeLost";
/// The quota of the namespace refuses the pod.
pub const QUOTA_EXCEEDED: &str = "QuotaExceeded";
/// Something else refuses the pod.
pub const POD_REFUSED: &str = "PodRefused";
/// An operator works here (K8S-32).
pub const ON_HOLD: &str = "OnHold";

/// What the objects around the pods of an instance show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around<'a> {
    /// Its Deployment.
    pub deployment: Option<&'a Deployment>,
    /// Its volume claim; `None` inside: there is none although there was one.
    pub claim: Option<Option<&'a PersistentVolumeClaim>>,
    /// The machine of its pod.
    pub node: Option<&'a Node>,
    /// An operator holds it.
    pub held: bool,
}

/// What is seen of an instance when what is around its pods is seen too: the gravest finds the word.
pub fn among(mut sight: Sighted, around: Around<'_>) -> Sighted {
    let reason = if around.claim.is_some_and(|claim| claim.is_none_or(is_lost)) {
        VOLUME_LOST
    } else if around.claim.flatten().is_some_and(|claim| claim.metadata.deletion_timestamp.is_some()) {
        VOLUME_DELETING
    } else if around.node.is_some_and(is_unheard_of) {
        sight.ready = false;
        NODE_LOST
    } else if let Some(refusal) = around.deployment.and_then(refusal).filter(|_| sight.phase == "not_found") {
        refusal
    } else if around.held && (!sight.ready || sight.reason.is_empty()) {
        ON_HOLD
    } else {
        return sight;
    };
    reason.clone_into(&mut sight.reason);
    sight
}

/// The volume behind the claim is gone.
pub fn is_lost(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost")
}

/// The cluster has not heard of the machine for its grace.
fn is_unheard_of(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|found| found.type_ == "Ready" && found.status == "Unknown")
}

/// Why the controller of a Deployment cannot make its pod.
fn refusal(deployment: &Deployment) -> Option<&'static str> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|found| found.type_ == "ReplicaFailure" && found.status == "True")?;
    let quota = found.message.as_deref().is_some_and(|message| message.contains("exceeded quota"));
    Some(if quota { QUOTA_EXCEEDED } else { POD_REFUSED })
}

/// What the timeline says when such a reason appears: its word and its text.
pub fn told(reason: &str) -> Option<Cause> {
    let cause = |reason, message| Some(Cause { reason, message });
    match reason {
        VOLUME_LOST => cause(
            "volume_lost",
            "the volume of the instance is gone; nothing is made in its place until support has looked at it",
        ),
        VOLUME_DELETING => cause(
            "volume_deleting",
            "the volume of the instance goes as soon as the instance stops; support must save its data first",
        ),
        "Evicted" | NODE_LOST | "NodeShutdown" => {
            cause("node_lost", "the machine of the instance could not keep it")
        }
        QUOTA_EXCEEDED => cause(
            "no_capacity",
            "the platform's limits leave no room for the instance at the moment; please ask support",
        ),
        POD_REFUSED => cause("pod_refused", "the cluster refuses the instance; please ask support"),
        ON_HOLD => cause("on_hold", "an operator works on the instance; nothing is repaired meanwhile"),
        _ => None,
    }
}

/// Is it hopeless to wait for this, after so many seconds in this state? All limits lie well below the two
/// minutes within which the status tells.
pub fn hopeless(sight: &Sighted, seconds: i64) -> Option<Cause> {
    let cause = |reason, message| Some(Cause { reason, message });
    match sight.reason.as_str() {
        VOLUME_LOST => told(VOLUME_LOST),
        _ if sight.ready => None,
        "CrashLoopBackOff" if sight.restarts >= CRASHES || seconds >= 45 => {
            cause("crash_loop", "Odoo ends again and again right after its start")
        }
        "OOMKilled" if sight.restarts >= CRASHES || seconds >= 45 => {
            cause("out_of_memory", "Odoo needs more memory than the instance has")
        }
        "ImagePullBackOff" if seconds >= 30 => {
            cause("image_unavailable", "the program of this Odoo version could not be loaded")
        }
        "CreateContainerConfigError" if seconds >= 30 => {
            cause("configuration_error", "the instance could not be set up")
        }
        "Evicted" | NODE_LOST | "Failed" | "NodeShutdown" | "Shutdown" if seconds >= 60 => {
            cause("node_lost", "the machine of the instance was lost")
        }
        _ => None,
    }
}

/// A running instance whose pod is there but not ready for so long tells so.
pub fn unwell(sight: &Sighted, seconds: i64) -> Option<Cause> {
    let cause = match sight.reason.as_str() {
        // The grace is the cluster's: it has waited already.
        NODE_LOST => return told(NODE_LOST),
        // An operator knows.
        ON_HOLD => return None,
        // Only here: for a first start room may still come (a volume, a node), and its deadline decides.
        "Unschedulable" => {
            Cause { reason: "no_capacity", message: "there is no room for the instance at the moment" }
        }
        reason => {
            told(reason).unwrap_or(Cause { reason: "not_ready", message: "the instance does not answer" })
        }
    };
    hopeless(sight, seconds).or_else(|| (!sight.ready && seconds >= 75).then_some(cause))
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
