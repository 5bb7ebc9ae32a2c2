//! create, stop, start, restart, suspend, terminate, undelete, purge against the real cluster.

use instance::domain::{DesiredState, OperationKind, OperationState, ProvisioningStatus, Status, StepState};
use instance_worker::objects::quantity;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::ResourceExt as _;
use kube::api::ListParams;
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::account;
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
    is_noted(&stack, id, &["Provisioned"]).await;
    no_secret_stands_around(&stack, id).await;
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
    assert_eq!(leads_to(&stack, id).await, ("instance-off".to_owned(), 81), "switched off");
    assert!(stack.objects::<Pod>(id).await.is_empty(), "INS-22: no pod is left once it says stopped");

    let start = stack.ask(id, OperationKind::Start, Status::Starting, DesiredState::Running).await;
    stack.ends(start, OperationState::Succeeded).await;
    assert_eq!(leads_to(&stack, id).await, (format!("odoo-{id}"), 8069), "as soon as it answers");
    let first = stack.objects::<Pod>(id).await.remove(0).uid();
    let sets = stack.objects::<ReplicaSet>(id).await.len();

    let restart = stack.ask(id, OperationKind::Restart, Status::Restarting, DesiredState::Running).await;
    stack.ends(restart, OperationState::Succeeded).await;
    let pods = stack.objects::<Pod>(id).await;
    let stays = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap();
    assert_ne!(stays.uid(), first, "INS-23: another pod");
    assert_eq!(stack.objects::<ReplicaSet>(id).await.len(), sets + 1, "K8S-29: one new ReplicaSet");

    let suspend = stack.ask(id, OperationKind::Suspend, Status::Stopping, DesiredState::Suspended).await;
    stack.ends(suspend, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Suspended);
    assert_eq!(leads_to(&stack, id).await, ("instance-off".to_owned(), 82), "suspended");

    let unsuspend = stack.ask(id, OperationKind::Unsuspend, Status::Starting, DesiredState::Running).await;
    stack.ends(unsuspend, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Running);
    assert_eq!(leads_to(&stack, id).await, (format!("odoo-{id}"), 8069));
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
    is_noted(&stack, id, &["Provisioned", "Stopped", "Started"]).await;
    stack.end().await;
}

/// Service and port behind the host name of an instance.
async fn leads_to(stack: &Stack, id: Uuid) -> (String, i32) {
    let mut ingress = stack.objects::<Ingress>(id).await.remove(0);
    let rule = ingress.spec.take().unwrap().rules.unwrap().remove(0);
    let service = rule.http.unwrap().paths.remove(0).backend.service.unwrap();
    (service.name, service.port.unwrap().number.unwrap())
}

/// K8S-27: an operator with kubectl sees what was done, and when.
async fn is_noted(stack: &Stack, id: Uuid, reasons: &[&str]) {
    let selector = ListParams::default().fields(&format!("involvedObject.name=odoo-{id}"));
    eventually(&format!("the events {reasons:?}"), SOON, || async {
        let events = stack.api::<Event>().list(&selector).await.unwrap().items;
        let noted = |reason: &&str| events.iter().any(|event| event.reason.as_deref() == Some(reason));
        reasons.iter().all(noted).then_some(())
    })
    .await;
}

/// SEC-04: nothing that is no Secret holds one: no object of the cluster, no row, no argument of a process.
async fn no_secret_stands_around(stack: &Stack, id: Uuid) {
    let secret = stack.objects::<Secret>(id).await.remove(0).data.unwrap();
    let mut planted = vec![format!("password-of-{id}")];
    for key in ["admin-password", "database-password"] {
        planted.push(String::from_utf8(secret[key].0.clone()).unwrap());
    }
    let mut places = Vec::new();
    for namespace in [&stack.tenants, &stack.platform] {
        let kinds = "events,configmaps,pods,services,deployments,replicasets,statefulsets,jobs,ingresses,\
                     networkpolicies,persistentvolumeclaims,leases";
        let text = account::kubectl_output(&["-n", namespace, "get", kinds, "-o", "json"]).await;
        assert!(text.contains("\"items\""), "{text}");
        places.push((format!("objects of {namespace}"), text));
    }
    for table in ["instances", "operations", "instance_events", "outbox"] {
        let query = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t");
        let rows: String =
            sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&stack.database).await.unwrap();
        places.push((table.to_owned(), rows));
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        // A process may end while it is looked at.
        if let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) {
            places.push((entry.path().display().to_string(), String::from_utf8_lossy(&arguments).into()));
        }
    }
    for (place, text) in &places {
        for value in &planted {
            assert!(!text.contains(value.as_str()), "a password stands in {place}");
        }
    }
}

/// INS-29, K8S-29: another plan is one new pod with the new limits, and a larger volume.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn new_limits_are_in_force_after_one_new_pod(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let sets = stack.objects::<ReplicaSet>(id).await.len();
    let before = stack.row(id).await.limits;
    sqlx::query(
        "UPDATE instances SET cpu_millis = cpu_millis * 2, memory_mib = memory_mib * 2,
                storage_mib = storage_mib * 2 WHERE id = $1",
    )
    .bind(id)
    .execute(&stack.database)
    .await
    .unwrap();

    let apply = stack.ask(id, OperationKind::ApplyResources, Status::Restarting, DesiredState::Running).await;
    stack.ends(apply, OperationState::Succeeded).await;

    let claim = stack.objects::<PersistentVolumeClaim>(id).await.remove(0).spec.unwrap();
    let asked = claim.resources.unwrap().requests.unwrap()["storage"].0.clone();
    assert_eq!(asked, quantity::mebibytes(before.storage_mib * 2).0);
    let pods = stack.objects::<Pod>(id).await;
    let stays = pods.iter().find(|pod| pod.metadata.deletion_timestamp.is_none()).unwrap();
    let deployment = stack.objects::<Deployment>(id).await.remove(0);
    let template = deployment.spec.unwrap().template.spec.unwrap();
    for spec in [&template, stays.spec.as_ref().unwrap()] {
        let limits = spec.containers[0].resources.as_ref().unwrap().limits.as_ref().unwrap();
        assert_eq!(limits["memory"].0, quantity::mebibytes(before.memory_mib * 2).0);
        assert_eq!(limits["cpu"].0, quantity::cpu(before.cpu_millis * 2).0);
    }
    assert_eq!(stack.objects::<ReplicaSet>(id).await.len(), sets + 1);
    stack.end().await;
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
