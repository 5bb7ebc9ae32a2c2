//! What an outage, a pause or another release must not do: end an operation, run it twice, or stop those of
//! others.

use std::time::Duration;

use instance::domain::{DesiredState, OperationKind, OperationState, Status, StepState};
use instance::store::{instances, lease, lives, operations};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::json;
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use instance_worker::operations::Pauses;

use crate::queue::{claim, claim_beside, kinds, queued};
use crate::stack::{SOON, Stack, instance_row};

/// REL-01: an operation that is still run here is not claimed again, also when its lease ended meanwhile.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_operation_in_hand_is_left_to_its_run(database: PgPool) {
    let mut connection = database.acquire().await.unwrap();
    let row = instance_row("t");
    instances::insert(&mut connection, &row).await.unwrap();
    let id = queued(&mut connection, &row).await;
    assert_eq!(claim(&mut connection, "a", 8).await.len(), 1);
    sqlx::query("UPDATE operations SET lease_until = now() - interval '1 second'")
        .execute(&mut *connection)
        .await
        .unwrap();

    assert!(claim_beside(&mut connection, "a", &[id], 8).await.is_empty());
    assert_eq!(claim(&mut connection, "b", 8).await.remove(0).id, id);
}

/// REL-16, REL-01: a worker that comes back under its name goes on at once with what its former life held,
/// and takes nothing from another process of the same name that lives.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_name_frees_what_its_former_life_held(database: PgPool) {
    let mut connection = database.acquire().await.unwrap();
    for _ in 0..2 {
        let row = instance_row("t");
        instances::insert(&mut connection, &row).await.unwrap();
        queued(&mut connection, &row).await;
    }
    let former = claim(&mut connection, "w", 1).await.remove(0);
    let living = claim(&mut connection, "w", 1).await.remove(0);
    let mut other = database.acquire().await.unwrap().detach();
    assert!(lives::hold_name(&mut other, "w").await.unwrap());
    assert!(!lives::hold_name(&mut connection, "w").await.unwrap(), "it lives");
    drop(other);
    let held = || async {
        lives::hold_name(&mut *database.acquire().await.ok()?, "w").await.ok().filter(|held| *held)
    };
    eventually("the end of the other process", SOON, held).await;

    assert_eq!(lives::free_former(&mut connection, "w", &[living.lease.token]).await.unwrap(), 1);

    assert_eq!(claim(&mut connection, "w", 8).await.remove(0).id, former.id);
}

/// REL-09: a row of another release waits for that release, and everybody else's operation goes on.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_row_of_another_release_stops_only_itself(database: PgPool) {
    let mut connection = database.acquire().await.unwrap();
    sqlx::raw_sql("ALTER TABLE operations DROP CONSTRAINT operations_kind_check")
        .execute(&mut *connection)
        .await
        .unwrap();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let row = instance_row("t");
        instances::insert(&mut connection, &row).await.unwrap();
        ids.push(queued(&mut connection, &row).await);
    }
    for (change, id) in [("kind = 'dream'", ids[0]), (r#"steps = '[{"state": "pending"}]'"#, ids[1])] {
        sqlx::query(sqlx::AssertSqlSafe(format!("UPDATE operations SET {change} WHERE id = $1")))
            .bind(id)
            .execute(&mut *connection)
            .await
            .unwrap();
    }

    let claimed = claim(&mut connection, "w", 8).await;

    assert_eq!(claimed.iter().map(|operation| operation.id).collect::<Vec<_>>(), [ids[2]]);
    let left: (String, bool, Option<String>) = sqlx::query_as(
        "SELECT parked_for, lease_owner IS NULL, internal_error FROM operations WHERE id = $1",
    )
    .bind(ids[1])
    .fetch_one(&mut *connection)
    .await
    .unwrap();
    assert_eq!((left.0.as_str(), left.1), ("release", true));
    assert!(left.2.unwrap().contains("steps"));
    // Neither of them makes a worker look at the queue all the time.
    let claimant = lease::Claimant { owner: &"w".into(), kinds: &kinds(), in_hand: &[ids[2]] };
    let due = lease::next_due(&mut connection, claimant).await.unwrap().unwrap();
    assert!(due > 20.0, "{due}");
}

/// An operation as another worker left it.
async fn left_with(
    stack: &Stack,
    kind: OperationKind,
    steps: serde_json::Value,
    deadline: &str,
) -> (Uuid, Uuid) {
    let (id, operation) = stack.create().await;
    let sql = format!(
        "UPDATE operations SET kind = $2, steps = $3, deadline = now() + interval '{deadline}' WHERE id = $1"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(operation)
        .bind(kind.as_str())
        .bind(steps)
        .execute(&stack.database)
        .await
        .unwrap();
    (id, operation)
}

/// INS-33: a last step that ended at the deadline is an end: nothing is taken back.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn what_is_done_at_the_deadline_is_done(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let steps: Vec<_> = OperationKind::Create
        .steps()
        .iter()
        .map(|name| json!({"name": name, "state": "succeeded"}))
        .collect();
    let (id, operation) = left_with(&stack, OperationKind::Create, json!(steps), "-1 second").await;
    stack.engine("engine-1", 1);

    stack.ends(operation, OperationState::Succeeded).await;

    assert_eq!(stack.row(id).await.status, Status::Running);
    assert!(stack.doubles.with(|known| known.purged.is_empty()));
    stack.end().await;
}

/// REL-09: a plan with a step of a newer release is left to it, also after the deadline; nothing is taken
/// back by halves.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_unknown_step_is_left_to_the_release_that_knows_it(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let steps = json!([{"name": "billing", "state": "succeeded"}, {"name": "bless", "state": "pending"}]);
    let (_, operation) = left_with(&stack, OperationKind::Create, steps, "-1 second").await;
    stack.engine("engine-1", 1);

    eventually("the operation to be left", SOON, || async {
        let parked: Option<String> = sqlx::query_scalar("SELECT parked_for FROM operations WHERE id = $1")
            .bind(operation)
            .fetch_one(&stack.database)
            .await
            .unwrap();
        (parked.as_deref() == Some("release")).then_some(())
    })
    .await;

    let left = stack.operation(operation).await;
    assert_eq!(left.state, OperationState::Running);
    assert!(left.error.is_none());
    assert_eq!(left.steps[0].state, StepState::Succeeded);
    stack.end().await;
}

/// K8S-20: the deadline ends the tries, not their number. The pauses are those of an hour of outage in a
/// smaller scale.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_terminate_outlives_an_outage_of_a_neighbour(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let (id, create) = stack.create().await;
    let mut connection = stack.database.acquire().await.unwrap();
    operations::preempt(&mut connection, create, OperationKind::Terminate).await.unwrap();
    drop(connection);
    // Each try asks four times.
    stack.doubles.with(|known| known.unavailable = 4 * 7);
    let terminate =
        stack.ask(id, OperationKind::Terminate, Status::Terminating, DesiredState::Terminated).await;
    let pauses = Pauses { first: Duration::from_millis(10), longest: Duration::from_millis(100) };
    stack.engine_with("engine-1", 4, pauses);

    let ended = stack.ends(terminate, OperationState::Succeeded).await;

    assert_eq!(ended.steps.last().unwrap().attempts, 8);
    assert_eq!(stack.row(id).await.status, Status::Terminated);
    stack.end().await;
}

/// INS-33: what cannot be taken back is left after half an hour, and the operation ends.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_undo_that_fails_comes_to_an_end(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.doubles.with(|known| known.unavailable = usize::MAX);
    let began = (runtime::clock::now() - time::Duration::minutes(31))
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let mut steps: Vec<_> =
        OperationKind::Create.steps().iter().map(|name| json!({"name": name, "state": "pending"})).collect();
    steps[1] = json!({"name": "database", "state": "succeeded", "undo_began_at": began});
    let (id, operation) = left_with(&stack, OperationKind::Create, json!(steps), "1 hour").await;
    given_up(&stack, operation).await;
    stack.engine("engine-1", 1);

    let ended = stack.ends(operation, OperationState::Failed).await;

    assert_eq!(ended.steps[1].state, StepState::Succeeded);
    assert!(ended.steps[1].detail.starts_with("failed to undo"), "{:?}", ended.steps[1]);
    assert_eq!(stack.row(id).await.status, Status::Error);
    stack.end().await;
}

async fn given_up(stack: &Stack, operation: Uuid) {
    sqlx::query("UPDATE operations SET error_reason = 'broken', error_message = 'it broke' WHERE id = $1")
        .bind(operation)
        .execute(&stack.database)
        .await
        .unwrap();
}

/// DBS-33: a move that is given up while a former pod hangs does not wait for it for ever.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_undo_that_waits_for_a_pod_comes_to_an_end(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let began = (runtime::clock::now() - time::Duration::minutes(2))
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    let steps: Vec<_> = OperationKind::MoveDatabase
        .steps()
        .iter()
        .map(|name| match *name {
            "stop" => json!({"name": name, "state": "succeeded", "undo_began_at": began}),
            _ => json!({"name": name, "state": "pending"}),
        })
        .collect();
    let (id, operation) = left_with(&stack, OperationKind::MoveDatabase, json!(steps), "1 hour").await;
    sqlx::query(
        "UPDATE instances SET status = 'maintenance', provisioning_status = 'completed', db_name = 'd',
             db_host = 'h', db_port = 5432, db_server_id = $1 WHERE id = $1",
    )
    .bind(id)
    .execute(&stack.database)
    .await
    .unwrap();
    let labels = json!({"saasodoo.io/instance-id": id.to_string()});
    let hanging: Pod = serde_json::from_value(json!({
        "metadata": {"name": format!("odoo-{id}-old"), "labels": labels},
        "spec": {"containers": [{"name": "odoo", "image": "simulated/tenant:17"}]},
    }))
    .unwrap();
    stack.api::<Pod>().create(&PostParams::default(), &hanging).await.unwrap();
    given_up(&stack, operation).await;
    stack.engine("engine-1", 1);

    let ended = stack.ends(operation, OperationState::Failed).await;

    let stop = ended.steps.iter().find(|step| step.name == "stop").unwrap();
    assert!(stop.detail.starts_with("failed to undo"), "{stop:?}");
    assert_eq!(stack.row(id).await.status, Status::Error);
    stack.end().await;
}
