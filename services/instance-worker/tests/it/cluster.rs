//! The one apply and the one delete against the real API server.

use instance_worker::cluster::{Applied, Error, LookAt, Owner};
use instance_worker::objects::deployment::deployment;
use instance_worker::objects::ingress::ingress;
use instance_worker::objects::network_policy::network_policy;
use instance_worker::objects::service::service;
use instance_worker::objects::volume::claim;
use instance_worker::objects::{DatabaseAccess, Off, Route, Tenant};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use sqlx::PgPool;
use uuid::Uuid;

use crate::stack::Stack;

/// Another one each time.
pub fn tenant() -> Tenant {
    Tenant {
        id: Uuid::now_v7(),
        customer_id: Uuid::now_v7(),
        name: "A <b> & Ç".into(),
        plan: "basic-monthly".into(),
        version: "17".into(),
        cpu_millis: 1500,
        memory_mib: 1536,
        storage_mib: 2048,
        subdomain: "acme".into(),
        demo_data: true,
        database: DatabaseAccess {
            server_id: Uuid::now_v7(),
            host: "postgres-pool-1".into(),
            port: 5432,
            name: "odoo_a".into(),
        },
        running: false,
        route: Route::Instance,
        restarted_at: None,
    }
}

/// K8S-15: apply twice, the resource version stays; all kinds compare equal to what the server gives back.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn applying_the_same_again_writes_nothing(database: PgPool) {
    let stack = Stack::start(database).await;
    let (tenant, cluster, settings) = (tenant(), &stack.worker.cluster, &stack.worker.settings);
    let owner = Owner::Instance(tenant.id);
    macro_rules! twice {
        ($object:expr) => {{
            let wanted = $object;
            let first = cluster.apply(&wanted, owner, LookAt::Server).await.unwrap();
            assert!(matches!(first, Applied::Created { .. }), "{first:?}");
            let differing = cluster.compare(&wanted, owner).await.unwrap();
            assert_eq!(differing, Some(Vec::new()), "{}", stringify!($object));
            let again = cluster.apply(&wanted, owner, LookAt::Server).await.unwrap();
            assert_eq!(again, Applied::Unchanged { uid: first.uid().to_owned() });
        }};
    }
    twice!(claim(&tenant, settings));
    twice!(service(&tenant, settings));
    twice!(network_policy(&tenant, settings));
    twice!(deployment(&tenant, settings));
    twice!(ingress(&tenant, settings));

    let smaller = Tenant { route: Route::Page(Off::Stopped), ..tenant.clone() };
    let repaired = cluster.apply(&ingress(&smaller, settings), owner, LookAt::Server).await.unwrap();
    assert!(matches!(repaired, Applied::Repaired { .. }), "{repaired:?}");
    let left = cluster.compare(&ingress(&smaller, settings), owner).await.unwrap();
    assert_eq!(left, Some(Vec::new()), "what is no longer wanted is gone");
    stack.end().await;
}

/// K8S-16
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_object_of_somebody_else_is_neither_adopted_nor_deleted(database: PgPool) {
    let stack = Stack::start(database).await;
    let (tenant, cluster, settings) = (tenant(), &stack.worker.cluster, &stack.worker.settings);
    let owner = Owner::Instance(tenant.id);
    let mut foreign = claim(&tenant, settings);
    foreign.metadata.labels = None;
    let foreign =
        stack.api::<PersistentVolumeClaim>().create(&PostParams::default(), &foreign).await.unwrap();

    let refused = cluster.apply(&claim(&tenant, settings), owner, LookAt::Server).await.unwrap_err();
    assert!(matches!(refused, Error::OwnershipConflict(_)), "{refused:?}");
    let refused = cluster
        .delete::<PersistentVolumeClaim>(&stack.tenants, &foreign.name_any(), owner, None)
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::OwnershipConflict(_)), "{refused:?}");
    let kept = stack.api::<PersistentVolumeClaim>().get(&foreign.name_any()).await.unwrap();
    assert_eq!(kept.uid(), foreign.uid());
    assert!(kept.labels().is_empty());
    stack.end().await;
}

/// K8S-30, K8S-31
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn absent_is_deleted_and_an_edit_is_taken_back(database: PgPool) {
    let stack = Stack::start(database).await;
    let (tenant, cluster, settings) = (tenant(), &stack.worker.cluster, &stack.worker.settings);
    let owner = Owner::Instance(tenant.id);
    let name = format!("odoo-{}", tenant.id);
    cluster.delete::<Service>(&stack.tenants, &name, owner, None).await.expect("absent is success");

    let wanted = service(&tenant, settings);
    cluster.apply(&wanted, owner, LookAt::Server).await.unwrap();
    let edit = serde_json::json!({"spec": {"ports": [{"port": 8069, "targetPort": 1, "protocol": "TCP"}]}});
    let services = stack.api::<Service>();
    services.patch(&name, &PatchParams::default(), &Patch::Strategic(edit)).await.unwrap();
    let repaired = cluster.apply(&wanted, owner, LookAt::Server).await.unwrap();
    assert!(matches!(repaired, Applied::Repaired { .. }), "{repaired:?}");
    assert!(!cluster.apply(&wanted, owner, LookAt::Server).await.unwrap().changed());

    cluster.delete::<Service>(&stack.tenants, &name, owner, Some("another-uid")).await.unwrap();
    assert!(services.get_opt(&name).await.unwrap().is_some(), "another object of the same name stays");
    cluster.delete::<Service>(&stack.tenants, &name, owner, None).await.unwrap();
    cluster.delete::<Service>(&stack.tenants, &name, owner, None).await.unwrap();
    assert!(services.get_opt(&name).await.unwrap().is_none());
    stack.end().await;
}
