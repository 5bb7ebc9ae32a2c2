//! What the cluster and its tools write into our objects by themselves. Everything else that is in an object
//! and not in the wanted one was added by hand.

use serde_json::Value;

/// What may stand in such a field.
enum Filled {
    /// Whatever its writer chose.
    Any,
    /// The server's default; another value is an edit.
    Text(&'static [&'static str]),
    /// The same for numbers.
    Number(i64),
}

use Filled::{Any, Number, Text};

/// Kinds that are compared as wholes. Others, such as Jobs, are compared in what is wanted of them.
const WHOLE: [&str; 8] = [
    "Deployment",
    "StatefulSet",
    "Service",
    "Ingress",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "ConfigMap",
    "Secret",
];

/// Of every kind; `*` stands for one probe, `[]` for each entry of a list.
const EVERYWHERE: &[(&str, Filled)] = &[
    ("metadata.annotations.kubectl.kubernetes.io/last-applied-configuration", Any),
    // Notes of controllers that come back at once when they are taken away: of Rancher, and of the migration of
    // volumes to CSI drivers.
    ("metadata.annotations.field.cattle.io/publicEndpoints", Any),
    ("metadata.annotations.pv.kubernetes.io/migrated-to", Any),
    // A note of the watch's own cache.
    ("metadata.annotations.saasodoo.io/hold-since", Any),
];

/// Of whatever has a template of pods.
const TEMPLATE: &[(&str, Filled)] = &[
    // `kubectl rollout restart`: taking it away would be another restart.
    ("spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt", Any),
    ("spec.template.metadata.creationTimestamp", Any),
    ("spec.template.spec.dnsPolicy", Text(&["ClusterFirst"])),
    ("spec.template.spec.restartPolicy", Text(&["Always"])),
    ("spec.template.spec.schedulerName", Text(&["default-scheduler"])),
    // The former name of serviceAccountName; the server keeps both equal.
    ("spec.template.spec.serviceAccount", Any),
    ("spec.template.spec.volumes[].configMap.defaultMode", Number(0o644)),
    ("spec.template.spec.volumes[].secret.defaultMode", Number(0o644)),
    ("spec.template.spec.containers[].imagePullPolicy", Text(&["IfNotPresent", "Always"])),
    ("spec.template.spec.containers[].terminationMessagePath", Text(&["/dev/termination-log"])),
    ("spec.template.spec.containers[].terminationMessagePolicy", Text(&["File"])),
    ("spec.template.spec.containers[].*.successThreshold", Number(1)),
    ("spec.template.spec.containers[].*.httpGet.scheme", Text(&["HTTP"])),
];

const DEPLOYMENT: &[(&str, Filled)] = &[
    ("metadata.annotations.deployment.kubernetes.io/revision", Any),
    ("metadata.annotations.kubernetes.io/change-cause", Any),
    ("spec.progressDeadlineSeconds", Number(600)),
];

const STATEFUL_SET: &[(&str, Filled)] = &[
    ("spec.podManagementPolicy", Text(&["OrderedReady"])),
    ("spec.revisionHistoryLimit", Number(10)),
    ("spec.updateStrategy", Any),
    ("spec.persistentVolumeClaimRetentionPolicy", Any),
    ("spec.volumeClaimTemplates[].apiVersion", Any),
    ("spec.volumeClaimTemplates[].kind", Any),
    ("spec.volumeClaimTemplates[].status", Any),
    ("spec.volumeClaimTemplates[].metadata.creationTimestamp", Any),
    ("spec.volumeClaimTemplates[].spec.volumeMode", Text(&["Filesystem"])),
];

const SERVICE: &[(&str, Filled)] = &[
    ("spec.clusterIP", Any),
    ("spec.clusterIPs", Any),
    ("spec.ipFamilies", Any),
    ("spec.ipFamilyPolicy", Any),
    ("spec.internalTrafficPolicy", Text(&["Cluster"])),
    ("spec.sessionAffinity", Text(&["None"])),
    ("spec.type", Text(&["ClusterIP"])),
];

const CLAIM: &[(&str, Filled)] = &[
    ("metadata.annotations.pv.kubernetes.io/bind-completed", Any),
    ("metadata.annotations.pv.kubernetes.io/bound-by-controller", Any),
    ("metadata.annotations.volume.beta.kubernetes.io/storage-provisioner", Any),
    ("metadata.annotations.volume.kubernetes.io/storage-provisioner", Any),
    ("metadata.annotations.volume.kubernetes.io/storage-resizer", Any),
    ("metadata.annotations.volume.kubernetes.io/selected-node", Any),
    ("spec.volumeMode", Text(&["Filesystem"])),
    ("spec.volumeName", Any),
];

fn of_kind(kind: &str) -> [&'static [(&'static str, Filled)]; 3] {
    match kind {
        "Deployment" => [EVERYWHERE, TEMPLATE, DEPLOYMENT],
        "StatefulSet" => [EVERYWHERE, TEMPLATE, STATEFUL_SET],
        "Service" => [EVERYWHERE, SERVICE, &[]],
        "PersistentVolumeClaim" => [EVERYWHERE, CLAIM, &[]],
        _ => [EVERYWHERE, &[], &[]],
    }
}

/// Is an object of this kind compared as a whole?
pub(super) fn is_whole(kind: &str) -> bool {
    WHOLE.contains(&kind)
}

/// May `value` stand at this place of an object of this kind although nobody wants it there?
pub(super) fn may_stand(kind: &str, pattern: &str, value: &Value) -> bool {
    if pattern == "status" || is_bookkeeping(pattern) {
        return true;
    }
    // Where nobody wants annotations, somebody's stand there as one map: each is asked for by itself.
    if pattern == "spec.template.metadata.annotations" {
        let all = value.as_object();
        return all.is_some_and(|all| {
            all.iter().all(|(key, value)| may_stand(kind, &format!("{pattern}.{key}"), value))
        });
    }
    let probes = ["startupProbe", "readinessProbe", "livenessProbe"];
    let general = probes.iter().find_map(|probe| {
        let (before, after) = pattern.split_once(&format!("].{probe}."))?;
        Some(format!("{before}].*.{after}"))
    });
    let place = general.as_deref().unwrap_or(pattern);
    of_kind(kind).into_iter().flatten().filter(|(known, _)| *known == place).any(|(_, filled)| match filled {
        Any => true,
        Text(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
        Number(number) => value.as_i64() == Some(*number),
    })
}

/// Fields of the metadata that are the server's; labels and annotations are ours.
fn is_bookkeeping(pattern: &str) -> bool {
    pattern
        .strip_prefix("metadata.")
        .is_some_and(|field| !field.starts_with("labels") && !field.starts_with("annotations"))
}
