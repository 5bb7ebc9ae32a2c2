//! create, stop, start, restart, suspend, terminate, undelete, purge against the real cluster.

use instance::domain::{DesiredState, OperationKind, OperationState, ProvisioningStatus, Status, StepState};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::ResourceExt as _;
use kube::api::ListParams;
use sqlx::PgPool;
use test_kit::eventually;

use crate::stack::{SOON, Stack};

/// K8S-04…18, K8S-27, INS-20
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_create_ends_running_with_one_of_each_object_and_one_fact(database: PgPool) {
    let stack = Stack::running(database).await;

    let (id, operation) = stack.create().await;
    let ended = stack.ends(operation, OperationState::Succeeded).await;

    assert_eq!(ended.progress, 100);
    assert!(ended.steps.iter().all(|step| step.state == StepState::Succeeded), "{:?}", ended.steps);
    let row = stack.row(id).await;
    assert_eq!((row.status, row.provisioning_status), (Status::Running, ProvisioningStatus::Completed));
    assert_eq!(row.observed_generation, row.generation);
    assert!(row.started_at.is_some() && row.last_health_check.is_some());
    assert_eq!(stack.objects::<Deployment>(id).await.len(), 1);
    assert_eq!(stack.objects::<Service>(id).await.len(), 1);
    assert_eq!(stack.objects::<Ingress>(id).await.len(), 1);
    assert_eq!(stack.objects::<PersistentVolumeClaim>(id).await.len(), 1);
    assert_eq!(stack.objects::<NetworkPolicy>(id).await.len(), 1);
    let secrets = stack.objects::<Secret>(id).await;
    assert_eq!(secrets.len(), 1);
    assert!(secrets[0].data.as_ref().unwrap()["admin-password"].0.len() >= 20);
    let deployments = stack.objects::<Deployment>(id).await;
    let text = serde_json::to_string(&deployments).unwrap();
    assert!(!text.contains(&format!("password-of-{id}")), "no password in the pod spec");
    assert_eq!(deployments[0].annotations()["saasodoo.io/instance-name"], "Ünïcode / test");
    assert_eq!(stack.facts(id).await, ["instance.provisioning_started.v1", "instance.ready.v1"]);
    assert_eq!(stack.timeline(id).await, ["provisioning_started", "ready"]);
    let selector = ListParams::default().fields(&format!("involvedObject.name=odoo-{id}"));
    let noted = eventually("a Kubernetes event", SOON, || async {
        let events = stack.api::<Event>().list(&selector).await.unwrap().items;
        events.iter().any(|event| event.reason.as_deref() == Some("Provisioned")).then_some(())
    });
    noted.await;
    stack.end().await;
}

/// INS-22, INS-23, INS-24, INS-25
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn stop_start_restart_and_suspend_do_what_they_say(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;

    let stop = stack.ask(id, OperationKind::Stop, Status::Stopping, DesiredState::Stopped).await;
    stack.ends(stop, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Stopped);
    assert!(stack.objects::<Pod>(id).await.is_empty(), "INS-22: no pod is left once it says stopped");

    let start = stack.ask(id, OperationKind::Start, Status::Starting, DesiredState::Running).await;
    stack.ends(start, OperationState::Succeeded).await;
    let first = stack.objects::<Pod>(id).await.remove(0).uid();

    let restart = stack.ask(id, OperationKind::Restart, Status::Restarting, DesiredState::Running).await;
    stack.ends(restart, OperationState::Succeeded).await;
    let pods = stack.objects::<Pod>(id).await;
    let stays = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap();
    assert_ne!(stays.uid(), first, "INS-23: another pod");

    let suspend = stack.ask(id, OperationKind::Suspend, Status::Stopping, DesiredState::Suspended).await;
    stack.ends(suspend, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Suspended);
    assert_eq!(backend(&stack.objects::<Ingress>(id).await[0]), "instance-off");

    let unsuspend = stack.ask(id, OperationKind::Unsuspend, Status::Starting, DesiredState::Running).await;
    stack.ends(unsuspend, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Running);
    assert_eq!(backend(&stack.objects::<Ingress>(id).await[0]), format!("odoo-{id}"));
    let facts = stack.facts(id).await;
    let lifecycle: Vec<&str> = facts.iter().skip(2).map(|topic| topic.trim_end_matches(".v1")).collect();
    assert_eq!(
        lifecycle,
        [
            "instance.stopped",
            "instance.started",
            "instance.restarted",
            "instance.suspended",
            "instance.resumed"
        ]
    );
    stack.end().await;
}

fn backend(ingress: &Ingress) -> String {
    let rule = &ingress.spec.as_ref().unwrap().rules.as_ref().unwrap()[0];
    rule.http.as_ref().unwrap().paths[0].backend.service.as_ref().unwrap().name.clone()
}

/// INS-26, INS-27, K8S-30
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_terminated_instance_keeps_its_data_comes_back_and_can_be_purged(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let volume = stack.objects::<PersistentVolumeClaim>(id).await.remove(0).uid();

    let terminate =
        stack.ask(id, OperationKind::Terminate, Status::Terminating, DesiredState::Terminated).await;
    let ended = stack.ends(terminate, OperationState::Succeeded).await;
    assert_eq!(ended.steps[0].state, StepState::Skipped);
    assert_eq!(stack.row(id).await.status, Status::Terminated);
    assert!(stack.objects::<Deployment>(id).await.is_empty());
    assert!(stack.objects::<Pod>(id).await.is_empty());
    assert_eq!(stack.objects::<PersistentVolumeClaim>(id).await[0].uid(), volume);
    assert!(stack.doubles.with(|known| known.released.contains(&id.to_string())));

    let undelete = stack.ask(id, OperationKind::Undelete, Status::Creating, DesiredState::Running).await;
    stack.ends(undelete, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Running);
    assert_eq!(stack.objects::<PersistentVolumeClaim>(id).await[0].uid(), volume, "the same data");

    let terminate =
        stack.ask(id, OperationKind::Terminate, Status::Terminating, DesiredState::Terminated).await;
    stack.ends(terminate, OperationState::Succeeded).await;
    let purge = stack.ask(id, OperationKind::Purge, Status::Terminated, DesiredState::Terminated).await;
    stack.ends(purge, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Purged);
    eventually("nothing left", SOON, || async {
        let left = stack.objects::<Service>(id).await.len()
            + stack.objects::<Ingress>(id).await.len()
            + stack.objects::<Secret>(id).await.len()
            + stack.objects::<NetworkPolicy>(id).await.len()
            + stack.objects::<PersistentVolumeClaim>(id).await.len();
        (left == 0).then_some(())
    })
    .await;
    assert_eq!(stack.doubles.with(|known| known.purged.clone()), [id.to_string()]);
    stack.end().await;
}

/// DBS-32: the Secret has the new password before another pod starts; the old one is retired while none runs;
/// a rotation that is refused changes nothing.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_password_is_rotated_with_one_new_pod(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let password = async || {
        let secret = stack.objects::<Secret>(id).await.remove(0);
        String::from_utf8(secret.data.unwrap()["database-password"].0.clone()).unwrap()
    };
    let first = stack.objects::<Pod>(id).await.remove(0).uid();

    stack.doubles.with(|known| known.no_rotation = true);
    let kind = OperationKind::RotatePassword;
    let refused = stack.ask(id, kind, Status::Maintenance, DesiredState::Running).await;
    stack.ends(refused, OperationState::Failed).await;
    assert_eq!(stack.row(id).await.status, Status::Running, "as it was");
    assert_eq!(password().await, format!("password-of-{id}"));
    assert_eq!(stack.objects::<Pod>(id).await.remove(0).uid(), first, "nothing was restarted");
    stack.doubles.with(|known| known.no_rotation = false);

    let rotate = stack.ask(id, kind, Status::Maintenance, DesiredState::Running).await;
    let ended = stack.ends(rotate, OperationState::Succeeded).await;

    assert!(ended.steps.iter().all(|step| step.state == StepState::Succeeded), "{:?}", ended.steps);
    assert_eq!(stack.row(id).await.status, Status::Running);
    assert_eq!(password().await, format!("new-password-of-{id}"));
    let word = stack.doubles.with(|known| known.rotations[&rotate.to_string()].1);
    assert_eq!(word, "retired");
    let pods = stack.objects::<Pod>(id).await;
    assert!(pods.len() == 1 && pods[0].uid() != first, "one pod, another one");
    assert!(stack.timeline(id).await.contains(&"password_rotated".to_owned()));
    stack.end().await;
}
