//! The life of containers: logs, commands, crashes, Jobs, ends.

use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use serde_json::json;
use test_kit::eventually;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{Node, SOON, delete, phase, waiting_reason};

#[tokio::test]
async fn commands_run_in_the_pod_with_input_output_and_code() {
    let node = Node::start(&[]).await;
    node.script("shell", "Always", "sleep 60").await;
    node.ready("shell").await;

    let echo = node.run(&["exec", "-i", "shell", "--", "sh", "-c", "cat; echo oops >&2"], "through\n").await;
    let code = node.run(&["exec", "shell", "--", "sh", "-c", "exit 7"], "").await;
    let unknown = node.run(&["exec", "shell", "--", "no-such-program"], "").await;

    assert_eq!(String::from_utf8_lossy(&echo.stdout), "through\n");
    assert!(String::from_utf8_lossy(&echo.stderr).contains("oops"));
    assert_eq!(code.status.code(), Some(7));
    assert!(!unknown.status.success());
}

#[tokio::test]
async fn logs_are_followed_and_those_of_the_run_before_are_kept() {
    let node = Node::start(&[]).await;
    node.script("talk", "Always", "echo first; for i in 1 2 3; do echo line $i; sleep 0.3; done; sleep 60")
        .await;
    node.ready("talk").await;
    let mut follow = tokio::process::Command::from(node.kubectl(&["logs", "-f", "talk"]))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    while seen.last().is_none_or(|line| line != "line 3") {
        let line = tokio::time::timeout(SOON, lines.next_line()).await.unwrap().unwrap();
        seen.push(line.expect("the log goes on"));
    }
    assert_eq!(seen, ["first", "line 1", "line 2", "line 3"]);

    node.switch("POST", "/faults", json!({ "selector": "talk", "fault": "crash" })).await;
    node.pod_is("talk", "was restarted", |pod| {
        (pod.status.as_ref()?.container_statuses.as_ref()?[0].restart_count == 1).then_some(())
    })
    .await;

    let previous = eventually("the log before is there", SOON, || async {
        let output = node.run(&["logs", "--previous", "talk", "--tail=1"], "").await;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    })
    .await;
    assert_eq!(previous, "line 3\n");
}

/// K8S-22
#[tokio::test]
async fn a_crash_loop_is_told_with_code_and_count() {
    let node = Node::start(&[]).await;
    node.script("loop", "Always", "exit 3").await;

    let (code, restarts) = node
        .pod_is("loop", "crash-loops", |pod| {
            (waiting_reason(pod)? == "CrashLoopBackOff").then_some(())?;
            let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
            let last = container.last_state.as_ref()?.terminated.as_ref()?;
            (container.restart_count >= 2).then_some((last.exit_code, container.restart_count))
        })
        .await;

    assert_eq!(code, 3);
    assert!(restarts >= 2);
    let events = node.output(&["get", "events", "-o", "jsonpath={.items[*].reason}"]).await;
    assert!(events.contains("BackOff") && events.contains("Started"), "{events}");
}

#[tokio::test]
async fn jobs_complete_or_fail_by_their_code() {
    let node = Node::start(&[]).await;
    for (name, script) in [("good", "echo done"), ("bad", "exit 1")] {
        let container =
            json!({ "name": "main", "image": "saasodoo/tools:1", "command": ["sh", "-c", script] });
        let spec = node.placed(json!({ "restartPolicy": "Never", "containers": [container] }));
        node.create::<Job>(json!({
            "metadata": { "name": name },
            "spec": { "backoffLimit": 0, "template": { "spec": spec } },
        }))
        .await;
    }
    let jobs = node.api::<Job>();

    for (name, condition) in [("good", "Complete"), ("bad", "Failed")] {
        eventually(&format!("job {name} is {condition}"), SOON, || async {
            let conditions = jobs.get(name).await.ok()?.status?.conditions?;
            conditions.iter().any(|found| found.type_ == condition && found.status == "True").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_process_has_its_grace_time_and_then_no_more() {
    let node = Node::start(&[]).await;
    node.script("stubborn", "Always", "trap 'echo asked' TERM; while :; do sleep 0.1; done").await;
    node.ready("stubborn").await;
    let began = Instant::now();

    delete(&node, "stubborn").await;
    node.gone("stubborn").await;

    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_900) && took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn a_program_of_ours_speaks_to_the_api_as_its_service_account() {
    let node = Node::start(&[]).await;
    let kubectl = test_kit::environment::kubectl();
    let container = json!({ "name": "main", "image": "saasodoo/tools:1", "command": ["sh", "-c", format!("{kubectl} auth whoami; sleep 60")] });
    let mut spec = node.placed(json!({ "containers": [container] }));
    spec["automountServiceAccountToken"] = json!(true);
    node.create::<k8s_openapi::api::core::v1::ServiceAccount>(json!({ "metadata": { "name": "caller" } }))
        .await;
    spec["serviceAccountName"] = json!("caller");
    node.create::<k8s_openapi::api::core::v1::Pod>(json!({ "metadata": { "name": "caller" }, "spec": spec }))
        .await;
    node.ready("caller").await;

    let account = format!("system:serviceaccount:{}:caller", node.name);
    eventually("the account is told", SOON, || async {
        node.output(&["logs", "caller"]).await.contains(&account).then_some(())
    })
    .await;
}

#[tokio::test]
async fn init_containers_come_first_and_one_after_the_other() {
    let node = Node::start(&[]).await;
    let step = |name: &str, script: &str| {
        json!({
            "name": name,
            "image": "saasodoo/tools:1",
            "command": ["sh", "-c", script],
            "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }],
        })
    };
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [step("one", "echo 1 > /shared/order"), step("two", "echo 2 >> /shared/order")],
        "containers": [step("main", "test \"$(cat /shared/order | tr -d '\\n')\" = 12")],
        "volumes": [{ "name": "shared", "emptyDir": {} }],
    });
    node.pod("steps", spec).await;

    node.pod_is("steps", "succeeds", |pod| (phase(pod)? == "Succeeded").then_some(())).await;
}

#[tokio::test]
async fn a_liveness_probe_restarts_what_no_longer_answers() {
    let node = Node::start(&[]).await;
    let container = json!({
        "name": "main",
        "image": "saasodoo/tools:1",
        "command": ["sh", "-c", "touch /data/alive; sleep 60"],
        "livenessProbe": { "exec": { "command": ["cat", "/data/alive"] }, "periodSeconds": 1, "failureThreshold": 2 },
        "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
    });
    let spec = json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{ "name": "data", "emptyDir": {} }],
    });
    node.pod("live", spec).await;
    node.ready("live").await;

    node.output(&["exec", "live", "--", "rm", "/data/alive"]).await;

    node.pod_is("live", "was restarted", |pod| {
        (pod.status.as_ref()?.container_statuses.as_ref()?[0].restart_count >= 1).then_some(())
    })
    .await;
}
