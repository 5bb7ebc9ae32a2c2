//! The engine: claims, fencing, retries, deadlines, cancellation, pre-emption, hand-over.

use std::time::Duration;

use instance::domain::{DesiredState, OperationKind, OperationState, ParkedFor, Status, StepState};
use instance::store::lease::{self, Claimant, Claimed, Progress};
use instance::store::{instances, operations};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::PostParams;
use sqlx::PgPool;
use test_kit::eventually;
use uuid::Uuid;

use crate::stack::{SOON, Stack, instance_row};

pub fn kinds() -> Vec<String> {
    OperationKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect()
}

/// A look at the queue of a worker with nothing in hand.
pub async fn claim(connection: &mut sqlx::PgConnection, owner: &str, limit: i64) -> Vec<Claimed> {
    claim_beside(connection, owner, &[], limit).await
}

pub async fn claim_beside(
    connection: &mut sqlx::PgConnection,
    owner: &str,
    in_hand: &[Uuid],
    limit: i64,
) -> Vec<Claimed> {
    let claimant = Claimant { owner: &owner.into(), kinds: &kinds(), in_hand };
    lease::claim(connection, claimant, 30.0, limit).await.unwrap().operations
}

/// REL-14: one customer's many operations do not go before another's one.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn customers_take_turns(database: PgPool) {
    let mut connection = database.acquire().await.unwrap();
    let (busy, other) = (Uuid::now_v7(), Uuid::now_v7());
    for customer in [busy, busy, busy, busy, other] {
        let row = instance::domain::Instance { customer_id: customer, ..instance_row("t") };
        instances::insert(&mut connection, &row).await.unwrap();
        queued(&mut connection, &row).await;
    }

    let claimed = claim(&mut connection, "w", 2).await;

    let mut customers = Vec::new();
    for operation in &claimed {
        let customer: Uuid = sqlx::query_scalar("SELECT customer_id FROM instances WHERE id = $1")
            .bind(operation.instance_id)
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        customers.push(customer);
    }
    customers.sort();
    let mut wanted = [busy, other];
    wanted.sort();
    assert_eq!(customers, wanted);
}

/// REL-14: what a claim reads grows as the queue does, also while the planner knows nothing of a table that a
/// burst has filled.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_claim_reads_each_waiting_operation_once(database: PgPool) {
    const WAITING: i64 = 400;
    let mut tx = database.begin().await.unwrap();
    for _ in 0..WAITING {
        let row = instance::domain::Instance { customer_id: Uuid::now_v7(), ..instance_row("t") };
        instances::insert(&mut tx, &row).await.unwrap();
        queued(&mut tx, &row).await;
    }
    tx.commit().await.unwrap();
    let mut tx = database.begin().await.unwrap();
    // The worst that the planner can choose.
    sqlx::raw_sql(
        "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_memoize = off",
    )
    .execute(&mut *tx)
    .await
    .unwrap();

    let claimed = claim(&mut tx, "w", 8).await;

    assert_eq!(claimed.len(), 8);
    let read: i64 = sqlx::query_scalar(
        "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables WHERE relname IN ('operations', 'instances')",
    )
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    assert!(read <= 8 * WAITING, "{read} rows read for {WAITING} operations");
}

pub async fn queued(connection: &mut sqlx::PgConnection, row: &instance::domain::Instance) -> Uuid {
    let new = operations::NewOperation {
        kind: OperationKind::Create,
        requested_by: "t".into(),
        parameters: serde_json::json!({}),
        request_id: String::new(),
        can_be_taken_back: true,
    };
    operations::insert(connection, row, new).await.unwrap().id
}

/// K8S-20, REL-01: two workers never hold one operation; who lost the lease writes nothing.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_lost_lease_fences_its_former_owner(database: PgPool) {
    let mut connection = database.acquire().await.unwrap();
    let row = instance_row("t");
    instances::insert(&mut connection, &row).await.unwrap();
    let id = queued(&mut connection, &row).await;
    let first = claim(&mut connection, "a", 8).await.remove(0);
    assert_eq!((first.id, first.attempts, first.first_claim), (id, 1, true));
    assert!(claim(&mut connection, "b", 8).await.is_empty(), "it is held");

    sqlx::query("UPDATE operations SET lease_until = now() - interval '1 second'")
        .execute(&mut *connection)
        .await
        .unwrap();
    let second = claim(&mut connection, "b", 8).await.remove(0);
    assert_eq!((second.attempts, second.first_claim), (2, false));

    let progress = Progress { steps: &first.steps, step: "billing" };
    assert!(!lease::save(&mut connection, &first.lease, progress).await.unwrap());
    assert!(
        !lease::finish(&mut connection, &first.lease, progress, OperationState::Succeeded).await.unwrap()
    );
    assert!(lease::renew(&mut connection, "a", &[first.lease.token], 30.0).await.unwrap().is_empty());
    assert!(lease::save(&mut connection, &second.lease, progress).await.unwrap());

    // An end of a wait is no new attempt; a pre-empted operation keeps the next one waiting until its worker
    // lets go.
    assert!(
        lease::park(&mut connection, &second.lease, progress, Some(ParkedFor::Ready), 0.0, None)
            .await
            .unwrap()
    );
    let third = claim(&mut connection, "b", 8).await.remove(0);
    assert_eq!((third.attempts, third.resumed), (2, true));
    operations::preempt(&mut connection, id, OperationKind::Terminate).await.unwrap();
    let next = queued(&mut connection, &row).await;
    assert!(claim(&mut connection, "c", 8).await.is_empty());
    assert!(!lease::save(&mut connection, &third.lease, progress).await.unwrap());
    // The same worker, and an older claim of it: nothing is given up.
    assert!(!lease::release(&mut connection, &second.lease).await.unwrap());
    assert!(lease::release(&mut connection, &third.lease).await.unwrap());
    assert_eq!(claim(&mut connection, "c", 8).await.remove(0).id, next);
}

/// K8S-19, K8S-16: a foreign volume fails the create with its reason; what it made is gone, the foreign
/// object stays.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_failed_create_leaves_nothing_of_its_own(database: PgPool) {
    let mut stack = Stack::start(database).await;
    let (id, operation) = stack.create().await;
    let mut foreign = PersistentVolumeClaim::default();
    foreign.metadata.name = Some(format!("odoo-data-{id}"));
    foreign.spec = Some(
        serde_json::from_value(serde_json::json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}))
            .unwrap(),
    );
    stack.api::<PersistentVolumeClaim>().create(&PostParams::default(), &foreign).await.unwrap();
    stack.engine("engine-1", 4);

    let ended = stack.ends(operation, OperationState::Failed).await;

    let error = ended.error.unwrap();
    assert_eq!(error.reason, "ownership_conflict");
    let states: Vec<StepState> = ended.steps.iter().map(|step| step.state).collect();
    assert_eq!(states[1..4], [StepState::Undone, StepState::Undone, StepState::Failed]);
    let row = stack.row(id).await;
    assert_eq!((row.status, row.error.unwrap().reason.as_str()), (Status::Error, "ownership_conflict"));
    assert!(row.database.is_none());
    assert!(stack.objects::<Secret>(id).await.is_empty());
    assert!(stack.objects::<Deployment>(id).await.is_empty());
    assert_eq!(stack.doubles.with(|known| known.purged.clone()), [id.to_string()]);
    assert!(
        stack.api::<PersistentVolumeClaim>().get_opt(&format!("odoo-data-{id}")).await.unwrap().is_some()
    );
    assert_eq!(
        stack.facts(id).await,
        ["instance.provisioning_started.v1", "instance.provisioning_failed.v1"]
    );
    stack.end().await;
}

/// K8S-20: what may pass is tried again; a refusal is not.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_outage_is_survived_and_a_refusal_ends_the_operation(database: PgPool) {
    let mut stack = Stack::start(database).await;
    // More than the client's own repeats: the step itself fails once.
    stack.doubles.with(|known| known.unavailable = 5);
    stack.engine("engine-1", 4);
    // Nobody watches the pods here: the slow poll behind the watch ends the wait.
    let (id, operation) = stack.create().await;
    let ended = stack.ends(operation, OperationState::Succeeded).await;
    assert_eq!(ended.steps[0].attempts, 2);
    assert_eq!(stack.row(id).await.status, Status::Running);

    stack.doubles.with(|known| known.refusal = Some("payment_required".into()));
    let (id, operation) = stack.create().await;
    let ended = stack.ends(operation, OperationState::Failed).await;
    assert_eq!(ended.error.unwrap().reason, "payment_required");
    assert_eq!(stack.row(id).await.status, Status::Error);
    stack.end().await;
}

/// K8S-36, INS-33: waiting for room holds no lease; the news of a pool ends the wait; the deadline ends it
/// too.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_create_waits_for_a_pool_without_a_slot_and_ends_at_its_deadline(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.doubles.with(|known| known.no_room = true);
    stack.engine("engine-1", 1);
    let (_, first) = stack.create().await;
    let (second_instance, second) = stack.create().await;
    for operation in [first, second] {
        eventually("a parked operation", SOON, || async {
            let parked: Option<String> =
                sqlx::query_scalar("SELECT parked_for FROM operations WHERE id = $1 AND lease_owner IS NULL")
                    .bind(operation)
                    .fetch_optional(&stack.database)
                    .await
                    .unwrap()
                    .flatten();
            (parked.as_deref() == Some("pool")).then_some(())
        })
        .await;
    }
    assert!(stack.objects::<Deployment>(second_instance).await.is_empty(), "no pod without a database");

    sqlx::query(
        "UPDATE operations SET deadline = now() - interval '1 second', not_before = now() WHERE id = $1",
    )
    .bind(first)
    .execute(&stack.database)
    .await
    .unwrap();
    let ended = stack.ends(first, OperationState::Failed).await;
    assert_eq!(ended.error.unwrap().reason, "deadline_exceeded");

    stack.doubles.with(|known| known.no_room = false);
    let mut connection = stack.database.acquire().await.unwrap();
    lease::wake_waiting_for_pool(&mut connection).await.unwrap();
    drop(connection);
    stack.lead("leader-1");
    stack.ends(second, OperationState::Succeeded).await;
    stack.end().await;
}

/// K8S-36: the wait for a pool has an end of its own, before that of the operation, and not before its time.
/// The beginning of the step is moved instead of waiting for 20 minutes.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_create_that_finds_no_pool_in_time_says_so(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.doubles.with(|known| known.no_room = true);
    stack.engine("engine-1", 1);
    let (id, operation) = stack.create().await;
    let waits = async || {
        eventually("a parked operation", SOON, || async {
            let operation = stack.operation(operation).await;
            let step = operation.steps.iter().find(|step| step.name == "database")?.clone();
            let parked: Option<String> =
                sqlx::query_scalar("SELECT parked_for FROM operations WHERE id = $1")
                    .bind(operation.id)
                    .fetch_one(&stack.database)
                    .await
                    .unwrap();
            (parked.is_some() && step.started_at.is_some()).then_some(step.attempts)
        })
        .await
    };
    let began = async |minutes: i64| {
        let mut steps = stack.operation(operation).await.steps;
        let step = steps.iter_mut().find(|step| step.name == "database").unwrap();
        step.started_at = Some(runtime::clock::now() - time::Duration::minutes(minutes));
        sqlx::query("UPDATE operations SET steps = $2, not_before = now() WHERE id = $1")
            .bind(operation)
            .bind(serde_json::to_value(&steps).unwrap())
            .execute(&stack.database)
            .await
            .unwrap();
        stack.doubles.with(|known| known.calls.get("Allocate").copied().unwrap_or_default())
    };
    waits().await;

    let asked = began(19).await;
    eventually("another question", SOON, || async {
        stack.doubles.with(|known| (known.calls["Allocate"] > asked).then_some(()))
    })
    .await;
    waits().await;
    assert_eq!(stack.operation(operation).await.state, OperationState::Running);

    began(21).await;
    let ended = stack.ends(operation, OperationState::Failed).await;
    assert_eq!(ended.error.unwrap().reason, "database_timeout");
    assert_eq!(stack.row(id).await.error.unwrap().reason, "database_timeout");
    stack.end().await;
}

/// INS-32, INS-20
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_cancelled_create_is_undone_and_a_terminate_goes_before(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.doubles.with(|known| known.no_room = true);
    stack.engine("engine-1", 4);
    let (id, operation) = stack.create().await;
    eventually("a wait", SOON, || async {
        (stack.operation(operation).await.state == OperationState::Running).then_some(())
    })
    .await;
    let mut connection = stack.database.acquire().await.unwrap();
    assert!(operations::request_cancel(&mut connection, operation).await.unwrap());
    drop(connection);
    stack.ends(operation, OperationState::Cancelled).await;
    let row = stack.row(id).await;
    assert_eq!((row.status, row.error.unwrap().reason.as_str()), (Status::Error, "cancelled"));

    let (id, create) = stack.create().await;
    let mut connection = stack.database.acquire().await.unwrap();
    operations::preempt(&mut connection, create, OperationKind::Terminate).await.unwrap();
    drop(connection);
    let terminate =
        stack.ask(id, OperationKind::Terminate, Status::Terminating, DesiredState::Terminated).await;
    stack.ends(terminate, OperationState::Succeeded).await;
    assert_eq!(stack.row(id).await.status, Status::Terminated);
    assert_eq!(stack.operation(create).await.state, OperationState::Cancelled);
    stack.end().await;
}

/// REL-16: a worker that stops gives its work to another at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_stopping_worker_hands_over(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    let first = stack.engine("engine-1", 16);
    let mut operations = Vec::new();
    for _ in 0..10 {
        operations.push(stack.create().await);
    }
    eventually("work", SOON, || async {
        let running: i64 = sqlx::query_scalar("SELECT count(*) FROM operations WHERE state = 'running'")
            .fetch_one(&stack.database)
            .await
            .unwrap();
        (running > 0).then_some(())
    })
    .await;
    first.cancel();
    stack.engine("engine-2", 16);
    for (id, operation) in operations {
        stack.ends(operation, OperationState::Succeeded).await;
        assert_eq!(stack.objects::<Deployment>(id).await.len(), 1);
        assert_eq!(stack.facts(id).await, ["instance.provisioning_started.v1", "instance.ready.v1"]);
    }
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM operations WHERE lease_owner IS NOT NULL")
        .fetch_one(&stack.database)
        .await
        .unwrap();
    assert_eq!(held, 0);
    stack.end().await;
}

/// K8S-33: never more in work than the limit.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn two_workers_share_the_queue_without_double_effects(database: PgPool) {
    let mut stack = Stack::start(database).await;
    stack.lead("leader-1");
    stack.engine("engine-1", 2);
    stack.engine("engine-2", 2);
    let mut operations = Vec::new();
    for _ in 0..8 {
        operations.push(stack.create().await);
    }
    let most = async {
        let mut most = 0;
        loop {
            let held: i64 =
                sqlx::query_scalar("SELECT count(*) FROM operations WHERE lease_owner IS NOT NULL")
                    .fetch_one(&stack.database)
                    .await
                    .unwrap();
            most = most.max(held);
            assert!(most <= 4, "{most} in work");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let all = async {
        for (id, operation) in &operations {
            stack.ends(*operation, OperationState::Succeeded).await;
            assert_eq!(stack.objects::<Secret>(*id).await.len(), 1);
            assert_eq!(stack.facts(*id).await.len(), 2);
        }
    };
    tokio::select! {
        () = most => {}
        () = all => {}
    }
    stack.end().await;
}

/// BIL: a start that billing refuses leaves the instance off, also for the reconciler.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_refused_start_stays_off(database: PgPool) {
    let stack = Stack::running(database).await;
    let id = stack.running_instance().await;
    let stop = stack.ask(id, OperationKind::Stop, Status::Stopping, DesiredState::Stopped).await;
    stack.ends(stop, OperationState::Succeeded).await;
    stack.doubles.with(|known| known.refusal = Some("payment_required".into()));

    let start = stack.ask(id, OperationKind::Start, Status::Starting, DesiredState::Running).await;
    stack.ends(start, OperationState::Failed).await;

    let row = stack.row(id).await;
    assert_eq!((row.status, row.desired_state), (Status::Error, DesiredState::Stopped));
    let replicas = stack.objects::<Deployment>(id).await[0].spec.as_ref().and_then(|spec| spec.replicas);
    assert_eq!(replicas, Some(0));
    stack.end().await;
}

/// REL-06: a database that breaks every connection costs time, not an operation.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn broken_connections_of_the_database_cost_no_operation(database: PgPool) {
    let stack = Stack::running(database).await;
    let mut operations = Vec::new();
    for _ in 0..4 {
        operations.push(stack.create().await);
    }
    for _ in 0..3 {
        let cut = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
        cut.execute(&stack.database).await.expect("the cut");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for (id, operation) in operations {
        eventually("the end", Duration::from_mins(1), || async {
            let state: Option<String> = sqlx::query_scalar("SELECT state FROM operations WHERE id = $1")
                .bind(operation)
                .fetch_one(&stack.database)
                .await
                .ok();
            (state.as_deref() == Some("succeeded")).then_some(())
        })
        .await;
        assert_eq!(stack.facts(id).await, ["instance.provisioning_started.v1", "instance.ready.v1"]);
    }
    stack.end().await;
}
