//! The status of a pod as a pure function of its spec and of what this node knows.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState as ApiState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pods::state::{ContainerState, Ended, Phase, PodState};

/// The address that the Node reports.
pub const HOST_IP: &str = "127.0.0.1";

/// When a container is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whenever it ends.
    Always,
    /// When it fails.
    OnFailure,
    /// Not at all.
    Never,
}

impl RestartPolicy {
    /// The policy of a pod.
    pub fn of(pod: &Pod) -> Self {
        match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Whether a container that ended with `code` starts again.
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// The whole status. Times of conditions that stay as they are come from the status that the API has.
pub fn pod_status(pod: &Pod, state: &PodState, now: Timestamp) -> PodStatus {
    let phase = phase(state, RestartPolicy::of(pod));
    let known = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions(state, phase, &known, now)),
        reason: state.verdict.as_ref().map(|verdict| verdict.reason.clone()),
        message: state.verdict.as_ref().map(|verdict| verdict.message.clone()),
        host_ip: Some(HOST_IP.to_owned()),
        host_ips: Some(vec![HostIP { ip: HOST_IP.to_owned() }]),
        pod_ip: Some(state.ip.to_string()),
        pod_ips: Some(vec![PodIP { ip: state.ip.to_string() }]),
        start_time: Some(Time(state.since)),
        init_container_statuses: (!state.init.is_empty())
            .then(|| state.init.iter().map(|container| container_status(container, uid)).collect()),
        container_statuses: Some(
            state.main.iter().map(|container| container_status(container, uid)).collect(),
        ),
        ..PodStatus::default()
    }
}

/// The phase in the words of the API.
pub fn phase(state: &PodState, policy: RestartPolicy) -> &'static str {
    if state.verdict.is_some() {
        return "Failed";
    }
    let initialized = is_initialized(state);
    let init_failed = state.init.iter().any(|container| failed_for_good(container, policy));
    if !initialized {
        return if init_failed { "Failed" } else { "Pending" };
    }
    let never_ran = |container: &ContainerState| {
        matches!(container.phase, Phase::Waiting { .. }) && container.last.is_none()
    };
    if state.main.iter().any(never_ran) {
        return "Pending";
    }
    let for_good = |container: &ContainerState| match &container.phase {
        Phase::Ended(ended) => !policy.restarts(ended.code),
        _ => false,
    };
    if !state.main.iter().all(for_good) {
        return "Running";
    }
    if state.main.iter().any(|container| failed_for_good(container, policy)) { "Failed" } else { "Succeeded" }
}

/// All init containers have done their work.
pub fn is_initialized(state: &PodState) -> bool {
    state.init.iter().all(|container| match &container.phase {
        Phase::Ended(ended) => ended.code == 0,
        // A sidecar stays running.
        Phase::Running { .. } => container.started && container.ready,
        Phase::Waiting { .. } => false,
    })
}

fn failed_for_good(container: &ContainerState, policy: RestartPolicy) -> bool {
    matches!(&container.phase, Phase::Ended(ended) if ended.code != 0 && !policy.restarts(ended.code))
}

fn container_status(container: &ContainerState, uid: &str) -> ContainerStatus {
    let ran = container.restarts > 0 || !matches!(container.phase, Phase::Waiting { .. });
    let running = matches!(container.phase, Phase::Running { .. });
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: if ran { format!("devnode://{}", container.image) } else { String::new() },
        container_id: ran.then(|| format!("devnode://{uid}/{}/{}", container.name, container.restarts)),
        ready: container.ready && running,
        restart_count: container.restarts,
        started: Some(container.started && running),
        state: Some(api_state(&container.phase)),
        last_state: container.last.as_ref().map(terminated),
        ..ContainerStatus::default()
    }
}

fn api_state(phase: &Phase) -> ApiState {
    match phase {
        Phase::Waiting { reason, message } => ApiState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.clone()), message: message.clone() }),
            ..ApiState::default()
        },
        Phase::Running { since } => ApiState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ApiState::default()
        },
        Phase::Ended(ended) => terminated(ended),
    }
}

fn terminated(ended: &Ended) -> ApiState {
    ApiState {
        terminated: Some(ContainerStateTerminated {
            exit_code: ended.code,
            reason: Some(ended.reason.clone()),
            message: ended.message.clone(),
            started_at: Some(Time(ended.started)),
            finished_at: Some(Time(ended.finished)),
            ..ContainerStateTerminated::default()
        }),
        ..ApiState::default()
    }
}

fn conditions(state: &PodState, phase: &str, known: &[PodCondition], now: Timestamp) -> Vec<PodCondition> {
    let completed = phase == "Succeeded";
    let initialized = is_initialized(state);
    let unready: Vec<&str> = state
        .main
        .iter()
        .filter(|container| !(container.ready && matches!(container.phase, Phase::Running { .. })))
        .map(|container| container.name.as_str())
        .collect();
    let ready = state.is_ready();
    let why_not_ready = if ready {
        None
    } else if completed {
        Some(("PodCompleted", None))
    } else if phase == "Failed" {
        Some(("PodFailed", None))
    } else {
        Some(("ContainersNotReady", Some(format!("containers with unready status: [{}]", unready.join(" ")))))
    };
    let why_not_initialized = (!initialized).then(|| {
        let open: Vec<&str> = state
            .init
            .iter()
            .filter(|container| !matches!(&container.phase, Phase::Ended(ended) if ended.code == 0))
            .map(|container| container.name.as_str())
            .collect();
        ("ContainersNotInitialized", Some(format!("containers with incomplete status: [{}]", open.join(" "))))
    });

    let own = [
        ("PodReadyToStartContainers", state.prepared, None),
        ("Initialized", initialized, why_not_initialized),
        ("Ready", ready, why_not_ready.clone()),
        ("ContainersReady", ready, why_not_ready),
        ("PodScheduled", true, None),
    ];
    let names: Vec<&str> = own.iter().map(|(name, ..)| *name).collect();
    let mut all: Vec<PodCondition> =
        own.into_iter().map(|(name, holds, why)| condition(name, holds, why, known, now)).collect();
    // What others wrote (the scheduler, the eviction API) stays.
    all.extend(known.iter().filter(|condition| !names.contains(&condition.type_.as_str())).cloned());
    all
}

fn condition(
    name: &str,
    holds: bool,
    why: Option<(&str, Option<String>)>,
    known: &[PodCondition],
    now: Timestamp,
) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let since = known
        .iter()
        .find(|condition| condition.type_ == name && condition.status == status)
        .and_then(|condition| condition.last_transition_time.clone());
    let (reason, message) = why.map_or((None, None), |(reason, message)| (Some(reason.to_owned()), message));
    PodCondition {
        type_: name.to_owned(),
        status: status.to_owned(),
        last_transition_time: Some(since.unwrap_or(Time(now))),
        reason,
        message,
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Container, PodSpec};
    use std::net::Ipv4Addr;

    fn pod(policy: &str, init: bool) -> Pod {
        let container =
            Container { name: "main".into(), image: Some("image".into()), ..Container::default() };
        let spec = PodSpec {
            containers: vec![container],
            init_containers: init.then(|| vec![Container { name: "init".into(), ..Container::default() }]),
            restart_policy: Some(policy.into()),
            ..PodSpec::default()
        };
        Pod { spec: Some(spec), ..Pod::default() }
    }

    fn state(pod: &Pod) -> PodState {
        PodState::new(pod, Ipv4Addr::new(127, 64, 0, 1), Timestamp::UNIX_EPOCH)
    }

    fn ended(code: i32) -> Ended {
        let time = Timestamp::UNIX_EPOCH;
        Ended { code, reason: "Error".into(), message: None, started: time, finished: time }
    }

    fn ready_condition(status: &PodStatus) -> &PodCondition {
        status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == "Ready").unwrap()
    }

    #[test]
    fn a_new_pod_is_pending_and_creating() {
        let pod = pod("Always", false);
        let status = pod_status(&pod, &state(&pod), Timestamp::UNIX_EPOCH);

        assert_eq!(status.phase.as_deref(), Some("Pending"));
        assert_eq!(ready_condition(&status).status, "False");
    }

    #[test]
    fn a_crash_loop_is_running_and_says_so() {
        let pod = pod("Always", false);
        let mut state = state(&pod);
        state.main[0].phase = Phase::waiting("CrashLoopBackOff", None);
        state.main[0].last = Some(ended(1));
        state.main[0].restarts = 2;

        let status = pod_status(&pod, &state, Timestamp::UNIX_EPOCH);

        assert_eq!(status.phase.as_deref(), Some("Running"));
        let container = &status.container_statuses.unwrap()[0];
        let waiting = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
        assert_eq!(container.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 1);
    }

    #[test]
    fn a_ready_pod_keeps_the_time_since_when_it_is() {
        let pod_before = pod("Always", false);
        let mut state = state(&pod_before);
        state.main[0].phase = Phase::Running { since: Timestamp::UNIX_EPOCH };
        state.main[0].ready = true;
        state.main[0].started = true;
        let first = pod_status(&pod_before, &state, Timestamp::UNIX_EPOCH);
        let later = Timestamp::from_second(100).unwrap();
        let pod_after = Pod { status: Some(first.clone()), ..pod_before };

        let second = pod_status(&pod_after, &state, later);

        assert_eq!(ready_condition(&second).status, "True");
        assert_eq!(ready_condition(&first), ready_condition(&second));
    }

    #[test]
    fn jobs_succeed_or_fail_by_the_exit_code() {
        for (code, policy, expected) in [
            (0, "Never", "Succeeded"),
            (3, "Never", "Failed"),
            (0, "OnFailure", "Succeeded"),
            (3, "OnFailure", "Running"),
            (0, "Always", "Running"),
        ] {
            let pod = pod(policy, false);
            let mut state = state(&pod);
            state.main[0].phase = Phase::Ended(ended(code));
            assert_eq!(phase(&state, RestartPolicy::of(&pod)), expected, "{code} {policy}");
        }
    }

    #[test]
    fn an_init_container_that_failed_for_good_fails_the_pod() {
        let pod = pod("Never", true);
        let mut state = state(&pod);
        assert_eq!(phase(&state, RestartPolicy::Never), "Pending");

        state.init[0].phase = Phase::Ended(ended(1));

        assert_eq!(phase(&state, RestartPolicy::Never), "Failed");
    }

    #[test]
    fn conditions_of_others_stay() {
        let mut pod = pod("Always", false);
        let foreign = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            ..PodCondition::default()
        };
        pod.status = Some(PodStatus { conditions: Some(vec![foreign.clone()]), ..PodStatus::default() });

        let status = pod_status(&pod, &state(&pod), Timestamp::UNIX_EPOCH);

        assert!(status.conditions.unwrap().contains(&foreign));
    }
}
