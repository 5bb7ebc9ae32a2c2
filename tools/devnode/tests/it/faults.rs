//! The fault switch: each fault is told by the API as a real one would be, and ends when it is taken back.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use test_kit::eventually;

use crate::harness::{Node, SOON, is_ready, phase, waiting_reason};

#[tokio::test]
async fn an_image_that_cannot_be_pulled_waits_until_it_can() {
    let node = Node::start(&[]).await;
    let fault =
        node.switch("POST", "/faults", json!({ "selector": "app=puller", "fault": "pull_error" })).await;
    node.script("puller", "Always", "sleep 60").await;
    node.pod_is("puller", "waits for its image", |pod| {
        (waiting_reason(pod)? == "ImagePullBackOff").then_some(())
    })
    .await;

    node.switch("DELETE", &format!("/faults/{}", fault["id"]), json!(null)).await;

    node.ready("puller").await;
}

#[tokio::test]
async fn a_process_killed_for_its_memory_says_so() {
    let node = Node::start(&[]).await;
    node.script("hungry", "Always", "sleep 60").await;
    node.ready("hungry").await;

    node.switch("POST", "/faults", json!({ "selector": "hungry", "fault": "oom" })).await;

    let (reason, code) = node
        .pod_is("hungry", "was killed", |pod| {
            let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
            let last = container.last_state.as_ref()?.terminated.as_ref()?;
            Some((last.reason.clone()?, last.exit_code))
        })
        .await;
    assert_eq!((reason.as_str(), code), ("OOMKilled", 137));
    // One blow, not a loop.
    node.ready("hungry").await;
}

#[tokio::test]
async fn an_evicted_pod_has_failed() {
    let node = Node::start(&[]).await;
    node.script("victim", "Always", "sleep 60").await;
    node.ready("victim").await;

    node.switch("POST", "/faults", json!({ "selector": format!("{}/victim", node.name), "fault": "evict" }))
        .await;

    let reason = node
        .pod_is("victim", "has failed", |pod| (phase(pod)? == "Failed").then(|| pod.status.clone()?.reason))
        .await;
    assert_eq!(reason.as_deref(), Some("Evicted"));
}

#[tokio::test]
async fn a_pod_is_not_ready_while_the_fault_lasts() {
    let node = Node::start(&[]).await;
    node.script("shy", "Always", "sleep 60").await;
    node.ready("shy").await;

    node.switch("POST", "/faults", json!({ "selector": "app=shy", "fault": "never_ready", "seconds": 1.5 }))
        .await;

    node.pod_is("shy", "is not ready", |pod| (!is_ready(pod)).then_some(())).await;
    node.ready("shy").await;
}

#[tokio::test]
async fn a_lost_node_shows_no_sign_of_life_until_it_is_back() {
    let node = Node::start(&["--heartbeat", "200ms"]).await;
    let leases: Api<Lease> = Api::namespaced(node.client.clone(), "kube-node-lease");
    let renewed = || async { leases.get_opt(&node.name).await.ok()??.spec?.renew_time.map(|time| time.0) };
    eventually("the lease is there", SOON, renewed).await;

    node.switch("POST", "/node", json!({ "state": "lost" })).await;
    let lost_at = eventually("the lease rests", SOON, || async {
        let before = renewed().await?;
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        (renewed().await? == before).then_some(before)
    })
    .await;
    node.switch("POST", "/node", json!({ "state": "back" })).await;

    eventually("the lease is renewed", SOON, || async { (renewed().await? > lost_at).then_some(()) }).await;
}
