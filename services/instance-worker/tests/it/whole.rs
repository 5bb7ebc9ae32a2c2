//! What we own is compared as a whole: additions by hand go, what cannot be applied is replaced, and one
//! broken object stops no other (K8S-31).

use std::time::Duration;

use instance_worker::reconcile::compare;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::stack::{SOON, Stack};

const BACK: Duration = Duration::from_mins(1);

async fn merge<K>(api: &Api<K>, name: &str, change: &Value)
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

/// Nothing differs any more, and the timeline tells that something did.
async fn is_whole_again(stack: &Stack, id: Uuid) {
    eventually("everything as wanted", BACK, || async {
        let differences = compare(&stack.worker, Some(id)).await.unwrap();
        differences.is_empty().then_some(())
    })
    .await;
    assert!(stack.timeline(id).await.contains(&"repaired".to_owned()));
}

/// What server-side apply refuses, or would leave: a port of another number under the same name, a strategy
/// with settings of its own, a second port of the container, labels that are gone. None of them keeps another
/// object from coming back.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_object_that_cannot_be_applied_is_replaced_and_stops_no_other(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let (services, deployments) = (stack.api::<Service>(), stack.api::<Deployment>());

    let port = serde_json::from_value(json!([
        {"op": "replace", "path": "/spec/ports/0/port", "value": 9999},
        {"op": "remove", "path": "/metadata/labels/app"},
        {"op": "remove", "path": "/metadata/labels/saasodoo.io~1instance-id"},
    ]))
    .unwrap();
    services.patch(&name, &PatchParams::default(), &Patch::Json::<()>(port)).await.unwrap();
    let rolling = json!({"spec": {"strategy": {"type": "RollingUpdate"}, "replicas": 0}});
    merge(&deployments, &name, &rolling).await;
    merge(&stack.api::<NetworkPolicy>(), &name, &json!({"spec": {"ingress": [{}]}})).await;
    stack.api::<Ingress>().delete(&name, &DeleteParams::default()).await.unwrap();

    is_whole_again(&stack, id).await;
    let service = services.get(&name).await.unwrap();
    assert_eq!(service.labels()["app"], "odoo");
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 8069);
    assert!(stack.api::<Ingress>().get_opt(&name).await.unwrap().is_some());
    eventually("a ready pod", SOON, || async { stack.row(id).await.observed.ready.then_some(()) }).await;
    stack.end().await;
}

/// Additions are drift like any other edit: seen by a dry run, taken away, and told.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn what_somebody_adds_by_hand_is_seen_and_taken_away(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.engine("engine-1", 4);
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let deployments = stack.api::<Deployment>();

    let evil = json!({"spec": {"selector": {"evil": "1"}, "externalIPs": ["203.0.113.7"]}});
    merge(&stack.api::<Service>(), &name, &evil).await;
    let policy = json!({"spec": {"podSelector": {"matchLabels": {"evil": "1"}}}});
    merge(&stack.api::<NetworkPolicy>(), &name, &policy).await;
    let middleware = "traefik.ingress.kubernetes.io/router.middlewares";
    let annotation = json!({"metadata": {"annotations": {middleware: "x"}}});
    merge(&stack.api::<Ingress>(), &name, &annotation).await;
    let sidecar = json!({"spec": {"template": {"spec": {
        "nodeSelector": {"evil": "1"},
        "containers": [
            {"name": "evil", "image": "evil"},
            {"name": "odoo", "env": [{"name": "EVIL", "value": "1"}], "ports": [{"containerPort": 7777}]},
        ],
    }}}});
    let strategic = Patch::Strategic(&sidecar);
    deployments.patch(&name, &PatchParams::default(), &strategic).await.unwrap();

    let seen = compare(&stack.worker, Some(id)).await.unwrap();
    let told: Vec<_> =
        seen.iter().map(|found| (found.object.split('/').next().unwrap(), found.kind)).collect();
    let kinds = ["Service", "NetworkPolicy", "Deployment", "Ingress"];
    assert_eq!(told, kinds.map(|kind| (kind, "changed")), "{seen:?}");

    stack.lead("leader-1");
    is_whole_again(&stack, id).await;
    let pod = deployments.get(&name).await.unwrap().spec.unwrap().template.spec.unwrap();
    assert_eq!((pod.containers.len(), pod.node_selector), (1, None));
    stack.end().await;
}

/// The data of a Secret is part of what is compared. The database's password comes back; the administrator's
/// is kept when nobody touched it, and when the Secret was lost, none is given out for the one that Odoo
/// knows.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_edited_secret_comes_back_and_a_lost_one_never_lies(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let secrets = stack.api::<Secret>();
    let before = secrets.get(&name).await.unwrap().data;

    merge(&secrets, &name, &json!({"stringData": {"database-password": "by hand"}})).await;
    eventually("the data to come back", BACK, || async {
        (secrets.get(&name).await.unwrap().data == before).then_some(())
    })
    .await;

    secrets.delete(&name, &DeleteParams::default()).await.unwrap();
    let again = eventually("another Secret", BACK, || async { secrets.get_opt(&name).await.unwrap() }).await;
    let (before, data) = (before.unwrap(), again.data.clone().unwrap());
    assert_eq!(data["database-password"], before["database-password"]);
    assert_ne!(data["admin-password"], before["admin-password"]);
    assert_eq!(again.annotations()["saasodoo.io/admin-password"], "unknown");
    stack.end().await;
}

/// Waits until the leader has compared everything once more.
pub async fn compared(stack: &Stack) {
    let wish = "UPDATE monitoring SET reconcile_task = $1, reconcile_requested_at = now()";
    sqlx::query(wish).bind(Uuid::now_v7()).execute(&stack.database).await.unwrap();
    eventually("the comparison", SOON, || async {
        let open: Option<Uuid> = sqlx::query_scalar("SELECT reconcile_task FROM monitoring")
            .fetch_one(&stack.database)
            .await
            .unwrap();
        open.is_none().then_some(())
    })
    .await;
}

/// Two releases at once: the former one does not change back what the later one made. What both make alike it
/// repairs.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_template_of_a_later_release_is_left_alone(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let deployments = stack.api::<Deployment>();
    let later = json!({
        "metadata": {"annotations": {"saasodoo.io/template": "1000000"}},
        "spec": {"template": {"metadata": {"labels": {"of-a-later-release": "1"}}}},
    });
    merge(&deployments, &name, &later).await;
    stack.api::<Ingress>().delete(&name, &DeleteParams::default()).await.unwrap();

    eventually("the Ingress", BACK, || async { stack.api::<Ingress>().get_opt(&name).await.unwrap() }).await;
    compared(&stack).await;

    let labels =
        deployments.get(&name).await.unwrap().spec.unwrap().template.metadata.unwrap().labels.unwrap();
    assert!(labels.contains_key("of-a-later-release"));
    stack.end().await;
}

/// K8S-32: a hold shows in the status; one that a roll-back brought along is nobody's wish and goes.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_hold_shows_and_does_not_come_back_with_a_roll_back(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let target = format!("deployment/{name}");
    let kubectl = async |args: &[&str]| {
        crate::account::kubectl(&[&["-n", &stack.tenants], args].concat(), "").await;
    };
    let hold = "saasodoo.io/hold";

    kubectl(&["annotate", &target, &format!("{hold}=true")]).await;
    eventually("the word about the hold", SOON, || async {
        (stack.row(id).await.observed.reason == "OnHold").then_some(())
    })
    .await;
    eventually("the copy of the hold", SOON, || async {
        let sets = stack.objects::<ReplicaSet>(id).await;
        sets.iter().any(|set| set.annotations().contains_key(hold)).then_some(())
    })
    .await;
    kubectl(&["annotate", &target, &format!("{hold}-")]).await;
    kubectl(&["rollout", "restart", &target]).await;
    eventually("another revision", SOON, || async {
        (stack.objects::<ReplicaSet>(id).await.len() > 1).then_some(())
    })
    .await;

    kubectl(&["rollout", "undo", &target]).await;
    kubectl(&["scale", &target, "--replicas=0"]).await;

    eventually("replicas without a hold", BACK, || async {
        let found = stack.api::<Deployment>().get(&name).await.unwrap();
        let held = found.annotations().contains_key(hold);
        (!held && found.spec.unwrap().replicas == Some(1)).then_some(())
    })
    .await;
    stack.end().await;
}

/// A wish that changed is written and is no repair: the customer hears nothing of it.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn another_name_and_plan_are_written_without_a_word(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let before = stack.api::<Deployment>().get(&name).await.unwrap();
    assert_eq!(before.labels()["saasodoo.io/plan"], "basic-monthly");
    assert_eq!(before.labels()["saasodoo.io/subdomain"], stack.row(id).await.subdomain);

    sqlx::query("UPDATE instances SET name = 'other', plan = 'premium', version = version + 1 WHERE id = $1")
        .bind(id)
        .execute(&stack.database)
        .await
        .unwrap();
    compared(&stack).await;

    eventually("the new name", BACK, || async {
        let now = stack.api::<Deployment>().get(&name).await.unwrap();
        let named = now.annotations()["saasodoo.io/instance-name"] == "other";
        (named && now.labels()["saasodoo.io/plan"] == "premium").then_some(())
    })
    .await;
    let now = stack.api::<Deployment>().get(&name).await.unwrap();
    let template = |found: &Deployment| found.spec.as_ref().unwrap().template.clone();
    assert_eq!(template(&now), template(&before), "no pod is started anew for it");
    assert!(!stack.timeline(id).await.contains(&"repaired".to_owned()));
    stack.end().await;
}
