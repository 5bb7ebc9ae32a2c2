//! What is kept of each watched object: what is compared or shown, nothing else (K8S-34).

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use k8s_openapi::api::core::v1::{
    Container, Node, NodeStatus, PersistentVolumeClaim, PersistentVolumeClaimStatus, Pod, PodSpec, Service,
};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::objects::meta;

/// Since when a Deployment is on hold; a note of this cache, never written to the cluster.
pub(crate) const HOLD_SINCE: &str = "saasodoo.io/hold-since";
/// Value of [`HOLD_SINCE`]: nobody asked for this hold, it is a copy from the history of roll-outs.
pub(crate) const HOLD_COPIED: &str = "copied";
/// Who writes the annotations of a former revision back: `kubectl rollout undo` calls itself `kubectl`, all
/// other commands append their own name.
const ROLL_BACK: [&str; 2] = ["kubectl", "kubectl-rollout"];
/// The condition of a Deployment whose pods are refused.
const REPLICA_FAILURE: &str = "ReplicaFailure";

fn metadata(mut meta: ObjectMeta) -> ObjectMeta {
    meta.managed_fields = None;
    meta.owner_references = None;
    meta
}

pub(crate) fn deployment(mut object: Deployment) -> Deployment {
    let since = hold_since(&object.metadata);
    object.metadata = metadata(object.metadata);
    object.status = object.status.and_then(refusals);
    if let Some(since) = since {
        object.metadata.annotations.get_or_insert_default().insert(HOLD_SINCE.to_owned(), since);
    }
    object
}

/// Why the controller cannot make a pod, if it cannot.
fn refusals(status: DeploymentStatus) -> Option<DeploymentStatus> {
    let mut conditions = status.conditions?;
    conditions.retain(|condition| condition.type_ == REPLICA_FAILURE && condition.status == "True");
    (!conditions.is_empty())
        .then(|| DeploymentStatus { conditions: Some(conditions), ..DeploymentStatus::default() })
}

/// Who set the hold annotation says so in the managed fields, with the time.
fn hold_since(meta: &ObjectMeta) -> Option<String> {
    let key = format!("f:{}", meta::HOLD);
    let mut times = meta.managed_fields.iter().flatten().filter_map(|entry| {
        let fields = entry.fields_v1.as_ref()?;
        let owned = fields.0.get("f:metadata")?.get("f:annotations")?.get(&key).is_some();
        // A roll-back updates; `kubectl apply --server-side` of the same program is a person's wish.
        let copied = entry.operation.as_deref() != Some("Apply")
            && entry.manager.as_deref().is_some_and(|manager| ROLL_BACK.contains(&manager));
        let time = || entry.time.as_ref().map(|time| time.0.to_string());
        if !owned {
            return None;
        }
        if copied { Some(HOLD_COPIED.to_owned()) } else { time() }
    });
    times.next()
}

pub(crate) fn service(mut object: Service) -> Service {
    object.metadata = metadata(object.metadata);
    object.status = None;
    object
}

pub(crate) fn ingress(mut object: Ingress) -> Ingress {
    object.metadata = metadata(object.metadata);
    object.status = None;
    object
}

pub(crate) fn claim(mut object: PersistentVolumeClaim) -> PersistentVolumeClaim {
    object.metadata = metadata(object.metadata);
    object.status = object.status.map(|status| PersistentVolumeClaimStatus {
        phase: status.phase,
        ..PersistentVolumeClaimStatus::default()
    });
    object
}

pub(crate) fn node(object: Node) -> Node {
    let kept = ObjectMeta { name: object.metadata.name, ..ObjectMeta::default() };
    let conditions = object.status.and_then(|status| status.conditions).map(|mut conditions| {
        conditions.retain(|condition| condition.type_ == "Ready");
        conditions
    });
    Node { metadata: kept, status: Some(NodeStatus { conditions, ..NodeStatus::default() }), spec: None }
}

pub(crate) fn policy(mut object: NetworkPolicy) -> NetworkPolicy {
    object.metadata = metadata(object.metadata);
    object
}

pub(crate) fn secret(meta: ObjectMeta) -> ObjectMeta {
    metadata(meta)
}

pub(crate) fn pod(object: Pod) -> Pod {
    let labels = object.metadata.labels.map(|mut labels| {
        labels.retain(|key, _| matches!(key.as_str(), meta::APP | meta::INSTANCE_ID | meta::POOL));
        labels
    });
    let annotations = object.metadata.annotations.map(|mut annotations| {
        annotations.retain(|key, _| key == meta::RESTARTED_AT);
        annotations
    });
    let kept = ObjectMeta {
        name: object.metadata.name,
        namespace: object.metadata.namespace,
        uid: object.metadata.uid,
        labels,
        annotations: annotations.filter(|annotations| !annotations.is_empty()),
        creation_timestamp: object.metadata.creation_timestamp,
        deletion_timestamp: object.metadata.deletion_timestamp,
        ..ObjectMeta::default()
    };
    let spec = object.spec.map(|spec| PodSpec {
        node_name: spec.node_name,
        containers: spec
            .containers
            .into_iter()
            .map(|container| Container {
                name: container.name,
                image: container.image,
                resources: container.resources,
                ..Container::default()
            })
            .collect(),
        ..PodSpec::default()
    });
    let status = object.status.map(|mut status| {
        status.init_container_statuses = None;
        status.ephemeral_container_statuses = None;
        status.host_ips = None;
        status.pod_ips = None;
        for container in status.container_statuses.iter_mut().flatten() {
            container.volume_mounts = None;
            container.allocated_resources = None;
            container.resources = None;
            container.container_id = None;
            container.image.clear();
            container.image_id.clear();
        }
        if let Some(conditions) = &mut status.conditions {
            conditions.retain(|condition| matches!(condition.type_.as_str(), "Ready" | "PodScheduled"));
        }
        status
    });
    Pod { metadata: kept, spec, status }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};

    use super::*;
    use crate::objects::deployment::deployment as wanted;
    use crate::objects::settings::tests::settings;
    use crate::objects::tenant::tests::tenant;

    /// K8S-34
    #[test]
    fn a_kept_pod_is_small() {
        let template = wanted(&tenant(), &settings()).spec.unwrap().template;
        let kept = pod(Pod { metadata: template.metadata.unwrap(), spec: template.spec, status: None });
        assert!(serde_json::to_vec(&kept).unwrap().len() < 1024);
        assert!(kept.spec.unwrap().containers[0].env.is_none());
    }

    fn held(manager: &str) -> Deployment {
        let mut object = wanted(&tenant(), &settings());
        object.metadata.managed_fields = Some(vec![ManagedFieldsEntry {
            manager: Some(manager.into()),
            time: Some(Time("2026-11-01T10:00:00Z".parse().unwrap())),
            fields_v1: Some(FieldsV1(
                serde_json::json!({"f:metadata": {"f:annotations": {"f:saasodoo.io/hold": {}}}}),
            )),
            ..ManagedFieldsEntry::default()
        }]);
        object
    }

    /// K8S-32: a roll-back copies the annotations of a former revision, its hold too.
    #[test]
    fn a_hold_that_came_with_a_roll_back_is_known_as_a_copy() {
        let since = |manager| deployment(held(manager)).metadata.annotations.unwrap()[HOLD_SINCE].clone();
        assert_eq!(since("kubectl"), HOLD_COPIED);
        assert_eq!(since("kubectl-annotate"), "2026-11-01T10:00:00Z");
    }

    /// K8S-32
    #[test]
    fn the_time_of_a_hold_is_kept_when_the_managed_fields_go() {
        let kept = deployment(held("kubectl-edit"));
        assert_eq!(kept.metadata.annotations.unwrap()[HOLD_SINCE], "2026-11-01T10:00:00Z");
        assert!(kept.metadata.managed_fields.is_none());
    }
}
