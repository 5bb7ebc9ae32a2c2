//! The worker dies after each step of a move, once, and the operation is taken up again (REL-01, REL-06,
//! DBS-33): it ends as it would have, with one of each object, and row, Secret and database-service name the
//! same server.

use std::time::Duration;

use instance::domain::{DesiredState, OperationKind, OperationState, Status};
use instance_worker::failpoint::FailPoint;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::doubles::{SERVER, TARGET};
use crate::stack::{SOON, Stack};

/// Life of the lease of a worker that dies: the next one waits for its end.
const DEAD_LEASE: Duration = Duration::from_secs(3);

/// Asks for a move of a running instance and lets the worker die after `step`; the operation's and the
/// instance's ids.
async fn moved(stack: &mut Stack, step: &str, ends: OperationState) -> (Uuid, Uuid) {
    stack.lease = DEAD_LEASE;
    let place = format!("move_database.{step}");
    stack.worker.fail = FailPoint::new(&place, || panic!("the worker dies here"));
    let engine = stack.engine(&place, 4);
    let id = stack.running_instance().await;
    let operation =
        stack.ask(id, OperationKind::MoveDatabase, Status::Maintenance, DesiredState::Running).await;
    stack.ends(operation, ends).await;
    let claims: i32 = sqlx::query_scalar("SELECT attempts FROM operations WHERE id = $1")
        .bind(operation)
        .fetch_one(&stack.database)
        .await
        .unwrap();
    assert!(claims > 1, "nothing died at {place}");
    engine.cancel();
    stack.becomes(id, Status::Running, SOON).await;
    (operation, id)
}

/// One of each, and all of them say the same server.
async fn whole(stack: &Stack, id: Uuid, operation: Uuid, server: Uuid, step: &str) {
    let row = stack.row(id).await;
    assert_eq!(row.database.unwrap().server_id, server, "after {step}");
    let secret = stack.api::<Secret>().get(&format!("odoo-{id}")).await.unwrap();
    let text = serde_json::to_string(&secret.data).unwrap();
    let host = if server == TARGET { "127.0.0.2" } else { "127.0.0.1" };
    let encoded = serde_json::to_string(&k8s_openapi::ByteString(host.as_bytes().to_vec())).unwrap();
    assert!(text.contains(&encoded), "the Secret names another server after {step}");
    let deployments = stack.objects::<Deployment>(id).await;
    assert_eq!(deployments.len(), 1);
    assert_eq!(deployments[0].spec.as_ref().unwrap().replicas, Some(1));
    let pods = stack.objects::<Pod>(id).await;
    let live = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
    assert_eq!(live, 1, "pods after {step}");
    for name in [format!("move-{operation}"), format!("move-{operation}-off")] {
        let left = stack.api::<Secret>().get_opt(&name).await.unwrap();
        assert!(left.is_none(), "the passwords of {name} are still there after {step}");
    }
}

/// DBS-33, REL-06
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_move_ends_although_the_worker_died_after_any_of_its_steps(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    for step in OperationKind::MoveDatabase.steps() {
        let (operation, id) = moved(&mut stack, step, OperationState::Succeeded).await;
        whole(&stack, id, operation, TARGET, step).await;
        let told = stack.timeline(id).await.iter().filter(|word| *word == "database_moved").count();
        assert_eq!(told, 1, "after {step}");
        let found = stack.doubles.with(|known| known.moves[&operation.to_string()].clone());
        assert_eq!(found.state, "switched", "after {step}");
        // It is told after the end, since nothing hangs on it.
        eventually("how long it was off is told for later estimates", SOON, || async {
            stack.doubles.with(|known| known.moves[&operation.to_string()].off)
        })
        .await;
    }
    stack.end().await;
}

/// DBS-33, REL-06: the copy is not the same, so that the move is taken back; the instance is as it was,
/// whatever died on the way.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_move_that_fails_leaves_the_instance_as_it_was_although_the_worker_died(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    stack.doubles.with(|known| known.copies_differ = true);
    for step in OperationKind::MoveDatabase.steps().iter().take_while(|step| **step != "verify") {
        let (operation, id) = moved(&mut stack, step, OperationState::Failed).await;
        whole(&stack, id, operation, SERVER, step).await;
        let found = stack.doubles.with(|known| known.moves[&operation.to_string()].clone());
        assert_eq!((found.state, found.off), ("aborted", None), "after {step}");
        let job = stack.api::<Job>().get_opt(&format!("move-{operation}")).await.unwrap();
        assert!(job.is_none_or(|job| job.metadata.deletion_timestamp.is_some()), "after {step}");
        assert!(stack.row(id).await.error.is_none(), "the operation alone tells of it");
    }
    stack.end().await;
}

/// DBS-33: the instance runs until its database was copied and compared, and what it wrote meanwhile follows
/// when it is off.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_instance_runs_while_its_database_is_copied(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    let engine = stack.engine("worker", 4);
    let id = stack.running_instance().await;
    stack.doubles.with(|known| known.comparing = true);
    let operation =
        stack.ask(id, OperationKind::MoveDatabase, Status::Maintenance, DesiredState::Running).await;
    eventually("the comparison beside the work", SOON, || async {
        stack.doubles.with(|known| known.calls.get("CompareCopy").copied()).filter(|calls| *calls > 1)
    })
    .await;

    let deployment = stack.objects::<Deployment>(id).await.remove(0);
    assert_eq!(deployment.spec.unwrap().replicas, Some(1));
    assert_eq!(deployment.status.unwrap().ready_replicas, Some(1));
    assert_eq!(stack.doubles.with(|known| known.calls.get("SyncCopy").copied()), None);

    stack.doubles.with(|known| known.comparing = false);
    stack.ends(operation, OperationState::Succeeded).await;
    whole(&stack, id, operation, TARGET, "all").await;
    assert_eq!(stack.doubles.with(|known| known.moves[&operation.to_string()].copies), 1);
    engine.cancel();
    stack.end().await;
}

/// DBS-33, REL-06: a copy that is of no use is made anew with the instance off, whatever died on the way.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_database_that_changed_altogether_is_copied_again_when_it_is_off(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    stack.doubles.with(|known| known.all_changed = true);
    for step in ["gone", "sync"] {
        let (operation, id) = moved(&mut stack, step, OperationState::Succeeded).await;
        whole(&stack, id, operation, TARGET, step).await;
        let copies = stack.doubles.with(|known| known.moves[&operation.to_string()].copies);
        assert_eq!(copies, 2, "after {step}");
    }
    stack.end().await;
}

/// REL-06, DBS-33: an operation that an earlier release accepted, with its steps in another order, ends in
/// this one by its own.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_move_of_an_earlier_release_ends_by_its_own_steps(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    let first = stack.engine("first", 4);
    let id = stack.running_instance().await;
    first.cancel();
    let operation =
        stack.ask(id, OperationKind::MoveDatabase, Status::Maintenance, DesiredState::Running).await;
    let names = ["target", "stop", "gone", "copy", "verify", "switch", "workload", "ready"];
    let steps: Vec<_> = names.iter().map(|name| instance::domain::Step::pending(name)).collect();
    sqlx::query("UPDATE operations SET steps = $2 WHERE id = $1")
        .bind(operation)
        .bind(sqlx::types::Json(steps))
        .execute(&stack.database)
        .await
        .unwrap();

    let engine = stack.engine("second", 4);
    stack.ends(operation, OperationState::Succeeded).await;
    stack.becomes(id, Status::Running, SOON).await;
    whole(&stack, id, operation, TARGET, "all").await;
    engine.cancel();
    stack.end().await;
}
