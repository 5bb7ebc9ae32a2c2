//! Whoever changes an object again and again is answered more and more slowly, and it is told (K8S-31).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use sqlx::PgPool;
use test_kit::eventually;

use crate::stack::{SOON, Stack};

const BACK: Duration = Duration::from_mins(1);
/// More than are free.
const EDITS: usize = 5;

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_object_that_is_changed_again_and_again_is_repaired_with_pauses(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let name = format!("odoo-{id}");
    let services = stack.api::<Service>();
    let is_edited = async || {
        let found = services.get(&name).await.unwrap();
        found.spec.unwrap().selector.unwrap().contains_key("by-somebody")
    };
    let edit = serde_json::json!({"spec": {"selector": {"by-somebody": "1"}}});
    for round in 0..EDITS {
        services.patch(&name, &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
        eventually(&format!("repair {round}"), BACK, async || (!is_edited().await).then_some(())).await;
    }
    eventually("the word about it", SOON, || async {
        stack.timeline(id).await.contains(&"repairs_slowed".to_owned()).then_some(())
    })
    .await;

    services.patch(&name, &PatchParams::default(), &Patch::Merge(&edit)).await.unwrap();
    // Another object of the same instance shows that the edit was seen, and left alone.
    for _ in 0..2 {
        stack.api::<Ingress>().delete(&name, &DeleteParams::default()).await.unwrap();
        eventually("the Ingress", BACK, || async { stack.api::<Ingress>().get_opt(&name).await.unwrap() })
            .await;
    }

    assert!(is_edited().await, "the next repair waits");
    let told = stack.timeline(id).await.iter().filter(|word| *word == "repairs_slowed").count();
    assert_eq!(told, 1);
    let selector = ListParams::default().fields(&format!("involvedObject.name={name}"));
    let noted = stack.api::<Event>().list(&selector).await.unwrap().items;
    assert!(noted.iter().any(|event| event.reason.as_deref() == Some("RepairApplied")), "K8S-27");
    assert!(stack.metrics.encode().unwrap().contains("instances_in_trouble{trouble=\"repairs_slowed\"}"));
    stack.end().await;
}
