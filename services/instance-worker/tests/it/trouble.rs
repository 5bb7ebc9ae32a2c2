//! Pods that do not get ready: the status tells it within two minutes, in words for the customer (K8S-22).

use std::time::{Duration, Instant};

use instance::domain::{DesiredState, OperationKind, OperationState, Status};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, ResourceQuotaSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::stack::{SOON, Stack};

const TOLD: Duration = Duration::from_mins(2);

struct Fault(u64);

/// Asks the node for a fault on the pods of an instance.
async fn fault(id: Uuid, kind: &str, count: Option<u32>) -> Fault {
    let wish = json!({"selector": format!("saasodoo.io/instance-id={id}"), "fault": kind, "count": count});
    let url = format!("{}/faults", test_kit::environment::devnode_url());
    let answer = reqwest::Client::new().post(url).json(&wish).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    Fault(answer.json::<serde_json::Value>().await.unwrap()["id"].as_u64().unwrap())
}

impl Fault {
    async fn end(self) {
        let url = format!("{}/faults/{}", test_kit::environment::devnode_url(), self.0);
        reqwest::Client::new().delete(url).send().await.unwrap();
    }
}

/// K8S-19: a broken image fails the create; no Deployment is left, the allocation is given back.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_image_that_cannot_be_pulled_fails_the_create(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    let (id, operation) = stack.create().await;
    let fault = fault(id, "pull_error", None).await;
    stack.engine("engine-1", 4);

    let began = Instant::now();
    let row = stack.becomes(id, Status::Error, TOLD).await;
    assert!(began.elapsed() < TOLD);
    fault.end().await;

    let ended = stack.operation(operation).await;
    assert_eq!(
        (ended.state, row.error.unwrap().reason.as_str()),
        (OperationState::Failed, "image_unavailable")
    );
    assert!(stack.objects::<Deployment>(id).await.is_empty());
    assert!(!stack.doubles.with(|known| known.allocated.contains(&id.to_string())));
    stack.end().await;
}

/// K8S-22: a running instance that crashes again and again is in error, and running again when it recovers.
/// Its operation history stays as it was.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_crash_loop_is_told_and_so_is_the_recovery(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;

    let fault = fault(id, "crash", Some(1000)).await;
    let row = stack.becomes(id, Status::Error, TOLD).await;
    let reason = row.error.unwrap().reason;
    assert!(reason == "crash_loop" || reason == "not_ready", "{reason}");
    assert!(stack.timeline(id).await.contains(&"container_restarted".to_owned()));

    fault.end().await;
    // A new pod does not wait for the back-off of the old one.
    stack
        .api::<Pod>()
        .delete_collection(&DeleteParams::default(), &kube::api::ListParams::default())
        .await
        .unwrap();
    let row = stack.becomes(id, Status::Running, TOLD).await;
    assert!(row.error.is_none());
    assert!(stack.timeline(id).await.contains(&"recovered".to_owned()));
    stack.end().await;
}

/// K8S-22: "delete pod by hand → back to running"; a pod that is ready shows in the row at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_pod_deleted_by_hand_is_replaced_without_a_word_to_the_customer(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let pods = stack.objects::<Pod>(id).await;
    let name = pods[0].metadata.name.clone().unwrap();
    stack.api::<Pod>().delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("another ready pod", SOON, || async {
        let other =
            stack.objects::<Pod>(id).await.iter().any(|pod| pod.metadata.name.as_deref() != Some(&name));
        (other && stack.row(id).await.observed.ready).then_some(())
    })
    .await;
    assert_eq!(stack.row(id).await.status, Status::Running);
    stack.end().await;
}

/// K8S-22: terminated, suspended and maintenance are never overwritten by what pods show.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_suspended_instance_stays_suspended_whatever_its_pods_do(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let suspend = stack.ask(id, OperationKind::Suspend, Status::Stopping, DesiredState::Suspended).await;
    stack.ends(suspend, OperationState::Succeeded).await;
    let edit = json!({"spec": {"replicas": 1}});
    let deployments = stack.api::<Deployment>();
    let name = format!("odoo-{id}");
    let merge = kube::api::Patch::Merge(edit);
    deployments.patch(&name, &kube::api::PatchParams::default(), &merge).await.unwrap();
    eventually("the replicas to go back", SOON, || async {
        (deployments.get(&name).await.unwrap().spec.unwrap().replicas == Some(0)).then_some(())
    })
    .await;
    assert_eq!(stack.row(id).await.status, Status::Suspended);
    stack.end().await;
}

/// K8S-22: a pod that the quota of the namespace refuses is told within seconds, and not after the deadline
/// of the restart.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_quota_that_leaves_no_room_is_told_at_once(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let quota = ResourceQuota {
        metadata: ObjectMeta { name: Some("full".into()), ..ObjectMeta::default() },
        spec: Some(ResourceQuotaSpec {
            hard: Some([("pods".to_owned(), Quantity("0".into()))].into()),
            ..ResourceQuotaSpec::default()
        }),
        ..ResourceQuota::default()
    };
    let quotas = stack.api::<ResourceQuota>();
    quotas.create(&PostParams::default(), &quota).await.unwrap();
    eventually("the quota to be in force", SOON, || async {
        quotas.get("full").await.unwrap().status.and_then(|status| status.hard)
    })
    .await;

    stack.ask(id, OperationKind::Restart, Status::Restarting, DesiredState::Running).await;

    eventually("the reason", SOON, || async {
        (stack.row(id).await.observed.reason == "QuotaExceeded").then_some(())
    })
    .await;
    assert!(stack.timeline(id).await.contains(&"no_capacity".to_owned()));
    stack.end().await;
}
