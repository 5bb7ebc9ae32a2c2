//! What happens to a pod stands on the timeline of its instance (INS-34). The watches are filled by hand: a
//! machine that is lost would be that of all tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use instance::store::monitoring;
use instance_worker::watch::observer::Observer;
use instance_worker::watch::queue::Queue;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, Node, NodeCondition, NodeStatus, Pod,
};
use kube::ResourceExt as _;
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::stack::{SOON, Stack};

/// A running instance, its pod, and an observer that sees what the test shows it.
async fn observed(database: PgPool) -> (Stack, Uuid, Pod, Arc<Observer>) {
    let mut stack = Stack::start(database).await;
    stack.engine("engine-1", 4);
    let id = stack.running_instance().await;
    let pod = stack.objects::<Pod>(id).await.remove(0);
    let mut connection = stack.database.acquire().await.unwrap();
    let generation = monitoring::take_over(&mut connection, "test", true).await.unwrap();
    drop(connection);
    let observer = Observer::new(stack.worker.clone(), generation, Queue::default(), Queue::default());
    let observer = Arc::new(observer);
    let running = Arc::clone(&observer);
    tokio::spawn(async move { running.run().await });
    show(&stack, &pod);
    observer.look_at(id);
    eventually("a first look", SOON, || async { stack.row(id).await.observed.ready.then_some(()) }).await;
    (stack, id, pod, observer)
}

fn show(stack: &Stack, pod: &Pod) {
    let pods = BTreeMap::from([(pod.name_any(), Arc::new(pod.clone()))]);
    stack.worker.cluster.cache().pods.replace(&stack.tenants, pods);
}

async fn is_told(stack: &Stack, id: Uuid, word: &str) {
    eventually(word, SOON, || async { stack.timeline(id).await.contains(&word.to_owned()).then_some(()) })
        .await;
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_end_for_want_of_memory_is_told_as_such(database: PgPool) {
    let (stack, id, mut pod, observer) = observed(database).await;
    let container = &mut pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0];
    container.restart_count += 1;
    let ended = ContainerStateTerminated {
        reason: Some("OOMKilled".into()),
        exit_code: 137,
        ..ContainerStateTerminated::default()
    };
    container.last_state = Some(ContainerState { terminated: Some(ended), ..ContainerState::default() });

    show(&stack, &pod);
    observer.look_at(id);

    is_told(&stack, id, "oom_killed").await;
    assert!(!stack.timeline(id).await.contains(&"container_restarted".to_owned()), "one word for one end");
    stack.end().await;
}

#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_machine_that_is_not_heard_of_is_told(database: PgPool) {
    let (stack, id, pod, observer) = observed(database).await;
    let name = pod.spec.as_ref().unwrap().node_name.clone().unwrap();
    let condition =
        NodeCondition { type_: "Ready".into(), status: "Unknown".into(), ..NodeCondition::default() };
    let status = NodeStatus { conditions: Some(vec![condition]), ..NodeStatus::default() };
    let node = Node { status: Some(status), ..Node::default() };

    stack.worker.cluster.cache().nodes.replace("", BTreeMap::from([(name.clone(), Arc::new(node))]));
    observer.look_at_node(&name);

    is_told(&stack, id, "node_lost").await;
    assert_eq!(stack.row(id).await.observed.reason, "NodeLost");
    stack.end().await;
}
