//! Data is not configuration: a volume that held data is never replaced by an empty one (K8S-05).

use std::time::Duration;

use instance::domain::{DesiredState, OperationKind, OperationState, Status};
use instance::store::operations;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaSpec, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, PostParams};
use sqlx::PgPool;
use test_kit::eventually;

use crate::stack::{SOON, Stack};

const BACK: Duration = Duration::from_mins(1);

/// The claim of a running instance is being deleted: everything else is kept up, nothing that would end its
/// pod is done, and it is told.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_volume_that_goes_is_told_and_costs_neither_the_other_objects_nor_the_pod(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let claims = stack.api::<PersistentVolumeClaim>();
    let pod = stack.objects::<Pod>(id).await[0].name_any();

    claims.delete(&format!("odoo-data-{id}"), &DeleteParams::default()).await.unwrap();
    eventually("the word about the volume", SOON, || async {
        (stack.row(id).await.observed.reason == "VolumeDeleting").then_some(())
    })
    .await;
    stack.api::<Service>().delete(&name, &DeleteParams::default()).await.unwrap();
    stack.api::<Ingress>().delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("both objects", BACK, || async {
        let service = stack.api::<Service>().get_opt(&name).await.unwrap();
        service.and(stack.api::<Ingress>().get_opt(&name).await.unwrap())
    })
    .await;
    assert!(stack.timeline(id).await.contains(&"volume_deleting".to_owned()));

    let restart = stack.ask(id, OperationKind::Restart, Status::Restarting, DesiredState::Running).await;
    let ended = stack.ends(restart, OperationState::Failed).await;
    assert_eq!(ended.error.unwrap().reason, "volume_lost");
    assert_eq!(stack.objects::<Pod>(id).await[0].name_any(), pod, "the pod keeps the last of the data");
    assert!(claims.get(&format!("odoo-data-{id}")).await.unwrap().metadata.deletion_timestamp.is_some());
    stack.end().await;
}

/// K8S-05: what a failed attempt made goes with it, but never a volume that held data before.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_attempt_that_is_taken_back_costs_its_own_volume_and_no_former_data(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let claims = stack.api::<PersistentVolumeClaim>();
    let mut waiting = Vec::new();
    for ran_before in [false, true] {
        let (id, operation) = stack.create().await;
        if ran_before {
            let mark = "UPDATE instances SET started_at = now() - interval '1 day' WHERE id = $1";
            sqlx::query(mark).bind(id).execute(&stack.database).await.unwrap();
        }
        waiting.push((id, operation, ran_before));
    }
    // No pod of them gets ready: a quota lets none in.
    let hard = Some([("pods".to_owned(), Quantity("0".into()))].into());
    let quota = ResourceQuota {
        metadata: ObjectMeta { name: Some("full".into()), ..ObjectMeta::default() },
        spec: Some(ResourceQuotaSpec { hard, ..ResourceQuotaSpec::default() }),
        ..ResourceQuota::default()
    };
    stack.api::<ResourceQuota>().create(&PostParams::default(), &quota).await.unwrap();
    stack.engine("engine-1", 4);
    for (id, operation, ran_before) in waiting {
        let name = format!("odoo-data-{id}");
        let made = eventually("the volume", SOON, || async { claims.get_opt(&name).await.unwrap() }).await;
        let mut connection = stack.database.acquire().await.unwrap();
        assert!(operations::request_cancel(&mut connection, operation).await.unwrap());
        drop(connection);
        stack.ends(operation, OperationState::Cancelled).await;
        if ran_before {
            assert_eq!(claims.get(&name).await.unwrap().uid(), made.uid());
            continue;
        }
        eventually("the end of the fresh volume", SOON, || async {
            let left = claims.get_opt(&name).await.unwrap();
            left.is_none_or(|left| left.metadata.deletion_timestamp.is_some()).then_some(())
        })
        .await;
    }
    stack.end().await;
}

/// The claim of a stopped instance is gone: a start is refused at once, and nothing is made in its place.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_lost_volume_is_never_replaced_by_an_empty_one(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let stop = stack.ask(id, OperationKind::Stop, Status::Stopping, DesiredState::Stopped).await;
    stack.ends(stop, OperationState::Succeeded).await;
    let claims = stack.api::<PersistentVolumeClaim>();

    claims.delete(&format!("odoo-data-{id}"), &DeleteParams::default()).await.unwrap();
    eventually("the word about the volume", SOON, || async {
        stack.timeline(id).await.contains(&"volume_lost".to_owned()).then_some(())
    })
    .await;
    let start = stack.ask(id, OperationKind::Start, Status::Starting, DesiredState::Running).await;
    let ended = stack.ends(start, OperationState::Failed).await;

    assert_eq!(ended.error.unwrap().reason, "volume_lost");
    let row = stack.row(id).await;
    assert_eq!((row.status, row.error.unwrap().reason.as_str()), (Status::Error, "volume_lost"));
    stack.api::<Service>().delete(&format!("odoo-{id}"), &DeleteParams::default()).await.unwrap();
    eventually("the Service", BACK, || async {
        stack.api::<Service>().get_opt(&format!("odoo-{id}")).await.unwrap()
    })
    .await;
    assert!(stack.objects::<PersistentVolumeClaim>(id).await.is_empty(), "a person decides");
    let replicas = stack.objects::<Deployment>(id).await[0].spec.as_ref().unwrap().replicas;
    assert_eq!(replicas, Some(0));
    stack.end().await;
}
