use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, NodeCondition,
    NodeStatus, PersistentVolumeClaimStatus, PodCondition, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::*;
use crate::objects::deployment::deployment;
use crate::objects::settings::tests::settings;
use crate::objects::tenant::tests::tenant;
use crate::objects::{Settings, Tenant};

fn pod(ready: bool) -> Pod {
    Pod {
        metadata: ObjectMeta { name: Some("p".into()), ..ObjectMeta::default() },
        status: Some(PodStatus {
            phase: Some("Running".into()),
            conditions: Some(vec![PodCondition {
                type_: "Ready".into(),
                status: if ready { "True" } else { "False" }.into(),
                ..PodCondition::default()
            }]),
            pod_ip: Some("127.1.2.3".into()),
            ..PodStatus::default()
        }),
        ..Pod::default()
    }
}

fn waiting(reason: &str, restarts: i32, last_end: Option<&str>) -> Pod {
    let mut pod = pod(false);
    let status = ContainerStatus {
        name: "odoo".into(),
        restart_count: restarts,
        state: Some(ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some(reason.into()),
                ..ContainerStateWaiting::default()
            }),
            ..ContainerState::default()
        }),
        last_state: last_end.map(|reason| ContainerState {
            terminated: Some(ContainerStateTerminated {
                reason: Some(reason.into()),
                ..ContainerStateTerminated::default()
            }),
            ..ContainerState::default()
        }),
        ..ContainerStatus::default()
    };
    pod.status.as_mut().unwrap().container_statuses = Some(vec![status]);
    pod
}

#[test]
fn no_pod_is_not_found_and_a_pod_on_its_way_out_is_still_seen() {
    assert_eq!(sight([]).phase, "not_found");
    let mut leaving = pod(true);
    leaving.metadata.deletion_timestamp = Some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    let seen = sight([&leaving]);
    assert_eq!((seen.phase, seen.ready, seen.reason.as_str()), ("running", false, "Terminating"));
    assert!(!is_ready(&leaving));
    let fresh = pod(true);
    assert!(sight([&leaving, &fresh]).ready);
}

/// K8S-22
#[test]
fn each_trouble_has_one_word_and_a_cause_for_the_customer() {
    for (reason, last, word, cause) in [
        ("CrashLoopBackOff", Some("Error"), "CrashLoopBackOff", "crash_loop"),
        ("CrashLoopBackOff", Some("OOMKilled"), "OOMKilled", "out_of_memory"),
        ("ErrImagePull", None, "ImagePullBackOff", "image_unavailable"),
        ("ImagePullBackOff", None, "ImagePullBackOff", "image_unavailable"),
        ("CreateContainerConfigError", None, "CreateContainerConfigError", "configuration_error"),
    ] {
        let seen = sight([&waiting(reason, 1, last)]);
        assert_eq!((seen.phase, seen.reason.as_str()), ("failed", word));
        assert_eq!(hopeless(&seen, 0), None, "{reason} may pass");
        assert_eq!(hopeless(&seen, 90).map(|cause| cause.reason), Some(cause));
    }
    let seen = sight([&waiting("CrashLoopBackOff", 3, Some("Error"))]);
    assert_eq!(hopeless(&seen, 0).map(|cause| cause.reason), Some("crash_loop"));
}

/// K8S-22: a start waits for room until its deadline; a running instance that lost its place tells so.
#[test]
fn no_room_is_told_but_ends_no_start() {
    let mut seen = sight([&pod(false)]);
    "Unschedulable".clone_into(&mut seen.reason);
    assert_eq!(hopeless(&seen, 500), None);
    assert_eq!(unwell(&seen, 30), None);
    assert_eq!(unwell(&seen, 90).map(|cause| cause.reason), Some("no_capacity"));
}

fn claim(phase: &str, deleting: bool) -> PersistentVolumeClaim {
    let mut claim = PersistentVolumeClaim {
        status: Some(PersistentVolumeClaimStatus { phase: Some(phase.into()), ..Default::default() }),
        ..PersistentVolumeClaim::default()
    };
    claim.metadata.deletion_timestamp = deleting.then_some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH));
    claim
}

fn machine(ready: &str) -> Node {
    let conditions =
        vec![NodeCondition { type_: "Ready".into(), status: ready.into(), ..NodeCondition::default() }];
    Node {
        status: Some(NodeStatus { conditions: Some(conditions), ..NodeStatus::default() }),
        ..Node::default()
    }
}

fn refused(message: &str) -> Deployment {
    let conditions = vec![DeploymentCondition {
        type_: "ReplicaFailure".into(),
        status: "True".into(),
        message: Some(message.into()),
        ..DeploymentCondition::default()
    }];
    Deployment {
        status: Some(DeploymentStatus { conditions: Some(conditions), ..DeploymentStatus::default() }),
        ..Deployment::default()
    }
}

/// K8S-22: what keeps an instance from running is seen around its pods as well.
#[test]
fn volume_machine_quota_and_hold_find_their_word() {
    let (lost, deleting, fine) = (claim("Lost", false), claim("Bound", true), claim("Bound", false));
    let (heard, unheard) = (machine("True"), machine("Unknown"));
    let quota = refused("pods \"x\" is forbidden: exceeded quota: tenants");
    let word = |sight: Sighted, around: Around<'_>| among(sight, around).reason;
    let ready = || sight([&pod(true)]);

    assert_eq!(word(ready(), Around { claim: Some(None), ..Around::default() }), VOLUME_LOST);
    assert_eq!(word(ready(), Around { claim: Some(Some(&lost)), ..Around::default() }), VOLUME_LOST);
    assert_eq!(word(ready(), Around { claim: Some(Some(&deleting)), ..Around::default() }), VOLUME_DELETING);
    assert_eq!(word(ready(), Around { claim: Some(Some(&fine)), ..Around::default() }), "");
    assert_eq!(word(ready(), Around { node: Some(&heard), ..Around::default() }), "");
    let gone = among(ready(), Around { node: Some(&unheard), ..Around::default() });
    assert_eq!((gone.ready, gone.reason.as_str()), (false, NODE_LOST));
    assert_eq!(word(nothing(), Around { deployment: Some(&quota), ..Around::default() }), QUOTA_EXCEEDED);
    assert_eq!(word(ready(), Around { deployment: Some(&quota), ..Around::default() }), "");
    assert_eq!(word(nothing(), Around { held: true, ..Around::default() }), ON_HOLD);

    let seen = |reason: &str| Sight { reason: reason.into(), ..nothing() };
    assert_eq!(unwell(&seen(NODE_LOST), 0).map(|cause| cause.reason), Some("node_lost"));
    assert_eq!(unwell(&seen(VOLUME_LOST), 0).map(|cause| cause.reason), Some("volume_lost"));
    assert_eq!(unwell(&seen(QUOTA_EXCEEDED), 90).map(|cause| cause.reason), Some("no_capacity"));
    assert_eq!(unwell(&seen(ON_HOLD), 900), None);
}

/// K8S-09: a first boot of minutes is no trouble.
#[test]
fn a_slow_start_is_not_hopeless_but_a_running_instance_that_hangs_is_unwell() {
    let seen = sight([&pod(false)]);
    assert_eq!((seen.phase, seen.reason.as_str()), ("running", "NotReady"));
    assert_eq!(hopeless(&seen, 500), None);
    assert_eq!(unwell(&seen, 30), None);
    assert_eq!(unwell(&seen, 90).map(|cause| cause.reason), Some("not_ready"));
    let container = waiting("ContainerCreating", 0, None);
    assert_eq!(sight([&container]).reason, "NotReady");
}

/// INS-23, K8S-29
#[test]
fn only_a_pod_of_the_wanted_template_counts_after_a_restart_or_new_limits() {
    let settings: Settings = settings();
    let old = deployment(&tenant(), &settings);
    let template = old.spec.clone().unwrap().template;
    let mut pod = pod(true);
    pod.metadata.annotations = template.metadata.unwrap().annotations;
    pod.spec = template.spec;
    assert!(runs_template(&pod, &old));
    let restarted = Tenant { restarted_at: Some("2026-11-01T00:00:00Z".into()), ..tenant() };
    assert!(!runs_template(&pod, &deployment(&restarted, &settings)));
    let larger = Tenant { memory_mib: 4096, ..tenant() };
    assert!(!runs_template(&pod, &deployment(&larger, &settings)));
}
