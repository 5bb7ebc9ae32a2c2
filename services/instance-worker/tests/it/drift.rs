//! Hand-made changes come back, holds are respected, a steady state is quiet, pools are made and reported.

use std::time::Duration;

use contracts::database::v1::PoolSpec;
use instance::domain::Status;
use instance_worker::reconcile::compare;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::doubles::SERVER;
use crate::stack::{SOON, Stack};
use crate::whole::compared;

/// K8S-31: "back < 60 s".
const BACK: Duration = Duration::from_mins(1);

/// K8S-31
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn deleted_and_edited_objects_come_back(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let (deployments, services) = (stack.api::<Deployment>(), stack.api::<Service>());
    let before = deployments.get(&name).await.unwrap().uid();

    deployments.delete(&name, &DeleteParams::background()).await.unwrap();
    services.delete(&name, &DeleteParams::default()).await.unwrap();
    stack.api::<Secret>().delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the objects to come back", BACK, || async {
        let deployment = deployments.get_opt(&name).await.unwrap()?;
        let service = services.get_opt(&name).await.unwrap();
        let secret = stack.api::<Secret>().get_opt(&name).await.unwrap();
        (deployment.uid() != before && service.is_some() && secret.is_some()).then_some(())
    })
    .await;

    let edit = serde_json::json!({"spec": {"replicas": 0}});
    deployments.patch(&name, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    eventually("the replicas to come back", BACK, || async {
        (deployments.get(&name).await.unwrap().spec.unwrap().replicas == Some(1)).then_some(())
    })
    .await;
    eventually("a ready pod", SOON, || async { stack.row(id).await.observed.ready.then_some(()) }).await;
    assert_eq!(stack.row(id).await.status, Status::Running, "a missing workload is no status");
    assert!(stack.timeline(id).await.contains(&"repaired".to_owned()));
    stack.end().await;
}

/// Deletes an object of an instance and waits until it is back: the reconciler is at work.
async fn is_repaired(stack: &Stack, id: Uuid) {
    let (services, name) = (stack.api::<Service>(), format!("odoo-{id}"));
    services.delete(&name, &DeleteParams::default()).await.unwrap();
    eventually("the repair of another instance", BACK, || async { services.get_opt(&name).await.unwrap() })
        .await;
}

/// K8S-31: never two Odoos on one volume. A Deployment that is gone comes back when the last of its pods is.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_lost_deployment_waits_for_its_former_pods(database: PgPool) {
    let stack = Stack::running(database).await;
    let (id, neighbour) = (stack.running_instance().await, stack.running_instance().await);
    let name = format!("odoo-{id}");
    let deployments = stack.api::<Deployment>();
    let pod = stack.objects::<Pod>(id).await.remove(0).uid();

    deployments.delete(&name, &DeleteParams::orphan()).await.unwrap();
    eventually("the end of the Deployment", SOON, || async {
        deployments.get_opt(&name).await.unwrap().is_none().then_some(())
    })
    .await;
    compared(&stack).await;
    is_repaired(&stack, neighbour).await;
    assert!(deployments.get_opt(&name).await.unwrap().is_none(), "its pod has the volume");
    assert_eq!(stack.objects::<Pod>(id).await.remove(0).uid(), pod);

    let of_instance = ListParams::default().labels(&format!("saasodoo.io/instance-id={id}"));
    let sets = stack.api::<ReplicaSet>();
    sets.delete_collection(&DeleteParams::background(), &of_instance).await.unwrap();
    eventually("the Deployment", BACK, || async { deployments.get_opt(&name).await.unwrap() }).await;
    eventually("another pod, alone", BACK, || async {
        let pods = stack.objects::<Pod>(id).await;
        (pods.len() == 1 && pods[0].uid() != pod).then_some(())
    })
    .await;
    stack.end().await;
}

/// K8S-32
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_deployment_on_hold_is_left_alone_until_the_hold_ends(database: PgPool) {
    let stack = Stack::running(database).await;
    let (id, neighbour) = (stack.running_instance().await, stack.running_instance().await);
    let name = format!("odoo-{id}");
    let deployments = stack.api::<Deployment>();

    let hold = serde_json::json!({"metadata": {"annotations": {"saasodoo.io/hold": "true"}}, "spec": {"replicas": 0}});
    deployments.patch(&name, &PatchParams::default(), &Patch::Merge(hold)).await.unwrap();
    eventually("no pod", SOON, || async { stack.objects::<Pod>(id).await.is_empty().then_some(()) }).await;
    // Another instance shows that the reconciler is at work meanwhile.
    compared(&stack).await;
    is_repaired(&stack, neighbour).await;
    assert_eq!(deployments.get(&name).await.unwrap().spec.unwrap().replicas, Some(0));

    let end = serde_json::json!({"metadata": {"annotations": {"saasodoo.io/hold": null}}});
    deployments.patch(&name, &PatchParams::default(), &Patch::Merge(end)).await.unwrap();
    eventually("the replicas to come back", BACK, || async {
        (deployments.get(&name).await.unwrap().spec.unwrap().replicas == Some(1)).then_some(())
    })
    .await;
    stack.end().await;
}

/// K8S-15: in a steady state nothing is written.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_full_comparison_of_unchanged_instances_writes_nothing(database: PgPool) {
    let stack = Stack::running(database).await;
    let ids = [stack.running_instance().await, stack.running_instance().await];
    let versions = || async {
        let mut versions = Vec::new();
        for id in ids {
            let name = format!("odoo-{id}");
            let service = stack.api::<Service>().get(&name).await.unwrap();
            let ingress = stack.api::<Ingress>().get(&name).await.unwrap();
            let secret = stack.api::<Secret>().get(&name).await.unwrap();
            let deployment = stack.api::<Deployment>().get(&name).await.unwrap();
            versions.push((
                service.resource_version(),
                ingress.resource_version(),
                secret.resource_version(),
            ));
            versions.push((deployment.metadata.generation.map(|g| g.to_string()), None, None));
        }
        versions
    };
    let before = versions().await;
    let neighbour = stack.running_instance().await;

    compared(&stack).await;
    is_repaired(&stack, neighbour).await;

    assert_eq!(versions().await, before);
    assert_eq!(compare(&stack.worker, None).await.unwrap(), []);
    for id in ids {
        assert!(!stack.timeline(id).await.contains(&"repaired".to_owned()));
    }
    stack.end().await;
}

/// MON-05, K8S-31
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_dry_run_lists_what_is_missing_and_what_belongs_to_nobody(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.engine("engine-1", 4);
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    stack.api::<Service>().delete(&name, &DeleteParams::default()).await.unwrap();
    let stray = Uuid::now_v7();
    let mut orphan = stack.api::<Ingress>().get(&name).await.unwrap();
    orphan.metadata = kube::api::ObjectMeta {
        name: Some("stray".into()),
        labels: Some(
            [("saasodoo.io/instance-id", stray.to_string()), ("saasodoo.io/managed", "true".into())]
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
        ),
        ..kube::api::ObjectMeta::default()
    };
    stack.api::<Ingress>().create(&PostParams::default(), &orphan).await.unwrap();

    let found = compare(&stack.worker, None).await.unwrap();

    let told: Vec<(String, &str)> = found.iter().map(|found| (found.object.clone(), found.kind)).collect();
    assert_eq!(told, [(format!("Service/{name}"), "missing"), ("Ingress/stray".into(), "orphan")]);
    assert!(stack.api::<Service>().get_opt(&name).await.unwrap().is_none(), "nothing was repaired");
    stack.end().await;
}

/// Waits for the next report of the leader, who also looks what operators want.
async fn reported(stack: &Stack) {
    let at = async || -> String {
        let query = sqlx::query_scalar("SELECT reported_at::text FROM monitoring");
        query.fetch_one(&stack.database).await.unwrap()
    };
    let before = at().await;
    sqlx::query("SELECT pg_notify('monitoring', '')").execute(&stack.database).await.unwrap();
    eventually("a report", SOON, async || (at().await != before).then_some(())).await;
}

/// MON-03, MON-04
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn monitoring_reports_and_pauses_when_an_operator_says_so(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    eventually("a report", SOON, || async {
        let row: (bool, i64, bool, Option<bool>) = sqlx::query_as(
            "SELECT watch_connected, instances_tracked, last_event_at IS NOT NULL, enabled FROM monitoring",
        )
        .fetch_one(&stack.database)
        .await
        .unwrap();
        (row == (true, 1, true, Some(true))).then_some(())
    })
    .await;

    sqlx::query("UPDATE monitoring SET enabled = false").execute(&stack.database).await.unwrap();
    eventually("the pause", SOON, || async {
        let connected: bool = sqlx::query_scalar("SELECT watch_connected FROM monitoring")
            .fetch_one(&stack.database)
            .await
            .unwrap();
        (!connected || stack.worker.cluster.cache().deployments.is_empty()).then_some(())
    })
    .await;
    stack.api::<Service>().delete(&name, &DeleteParams::default()).await.unwrap();
    for _ in 0..2 {
        reported(&stack).await;
    }
    assert!(stack.api::<Service>().get_opt(&name).await.unwrap().is_none(), "no repair while stopped");

    sqlx::query("UPDATE monitoring SET enabled = true").execute(&stack.database).await.unwrap();
    eventually("the repair", BACK, || async { stack.api::<Service>().get_opt(&name).await.unwrap() }).await;
    stack.end().await;
}

/// DBS-26…28
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_wanted_pool_is_made_and_reported_and_an_unwanted_one_loses_all_but_its_volume(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let mut spec = PoolSpec {
        id: SERVER.to_string(),
        name: "postgres-pool-7".into(),
        server_type: "shared".into(),
        desired: "present".into(),
        image: "simulated/database:15".into(),
        storage: "1Gi".into(),
        cpu_request: "50m".into(),
        cpu_limit: "1".into(),
        memory_request: "64Mi".into(),
        memory_limit: "1024Mi".into(),
        config: "max_connections = 100\n".into(),
        admin_user: "pool_admin".into(),
        secret_hash: "hash-1".into(),
        generation: 1,
        status: "provisioning".into(),
        ..PoolSpec::default()
    };
    stack.doubles.with(|known| known.pools = vec![spec.clone()]);
    stack.lead("leader-1");

    let ready = eventually("a ready report", Duration::from_mins(1), || async {
        stack.doubles.with(|known| {
            known.reports.get(&SERVER.to_string())?.last().filter(|r| r.observed == "ready").cloned()
        })
    })
    .await;
    assert!(ready.platform_host.starts_with("127.") && ready.tenant_host == ready.platform_host, "{ready:?}");
    let sets: Api<StatefulSet> = Api::namespaced(stack.client.clone(), &stack.platform);
    let set = sets.get("postgres-pool-7").await.unwrap();
    assert_eq!(set.labels()["app"], "postgres-pool-7");
    assert_eq!(set.annotations()["saasodoo.io/secret-hash"], "hash-1");
    let volumes: Api<PersistentVolumeClaim> = Api::namespaced(stack.client.clone(), &stack.platform);
    assert!(volumes.get_opt("data-postgres-pool-7-0").await.unwrap().is_some());

    spec.desired = "absent".into();
    stack.doubles.with(|known| known.pools = vec![spec]);
    sqlx::query("SELECT pg_notify('pools', '')").execute(&stack.database).await.unwrap();
    eventually("a removed report", SOON, || async {
        stack.doubles.with(|known| {
            let last = known.reports.get(&SERVER.to_string())?.last()?;
            (last.observed == "removed").then_some(())
        })
    })
    .await;
    assert!(sets.get_opt("postgres-pool-7").await.unwrap().is_none());
    let maps: Api<ConfigMap> = Api::namespaced(stack.client.clone(), &stack.platform);
    assert!(maps.get_opt("postgres-pool-7").await.unwrap().is_none());
    assert!(volumes.get_opt("data-postgres-pool-7-0").await.unwrap().is_some(), "the volume stays");
    assert!(stack.doubles.with(|known| known.contacts) > 0, "DBS-14");
    stack.end().await;
}
