//! Operations as resources: read, follow, cancel (INS-31…33), timeline, status, logs, credentials
//! (INS-34…37).

use std::time::Duration;

use contracts::instance::v1 as wire;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;

use crate::support::{Person, World, refusal, refused};

fn watch(instance: &str, operation: &str, after: i64) -> wire::WatchOperationRequest {
    wire::WatchOperationRequest {
        instance_id: instance.into(),
        operation_id: operation.into(),
        after_revision: after,
    }
}

fn cancel(instance: &str, operation: &str) -> wire::CancelOperationRequest {
    wire::CancelOperationRequest { instance_id: instance.into(), operation_id: operation.into() }
}

async fn next(stream: &mut tonic::Streaming<wire::WatchOperationResponse>) -> Option<wire::Operation> {
    let message =
        tokio::time::timeout(Duration::from_secs(5), stream.message()).await.expect("a change within 5 s");
    message.unwrap().and_then(|change| change.operation)
}

/// INS-31, INS-33
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn operations_are_listed_with_steps_and_deadline(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    world.act(&owner, &id, "stop").await;
    let request = wire::ListOperationsRequest { instance_id: id.clone(), page: 1, page_size: 1 };
    let answer = world.client().list_operations(owner.ask(request)).await.unwrap().into_inner();
    assert_eq!((answer.operations.len(), answer.total), (1, 2));
    let stop = &answer.operations[0];
    assert_eq!((stop.kind.as_str(), stop.requested_by.as_str()), ("stop", owner.id.to_string().as_str()));
    assert_eq!(stop.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["workload", "gone"]);
    let seconds = stop.deadline.unwrap().seconds - stop.created_at.unwrap().seconds;
    assert_eq!(seconds, 15 * 60);
}

/// INS-31: the stream gives the present state, then each change, and ends with the operation.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_operation_can_be_followed_and_resumed(pool: PgPool) {
    let world = World::start(pool).await;
    tokio::spawn(world.app.wakeups.clone().run(world.pool.clone()));
    let owner = world.customer();
    let instance = world.create(&owner, "Acme").await;
    let operation = instance.current_operation.unwrap().id;
    let mut stream = world
        .client()
        .watch_operation(owner.ask(watch(&instance.id, &operation, 0)))
        .await
        .unwrap()
        .into_inner();

    let first = next(&mut stream).await.unwrap();
    assert_eq!((first.state.as_str(), first.revision), ("queued", 1));
    world
        .sql("UPDATE operations SET state = 'running', step = 'database', progress = 14 WHERE instance_id = $1", &instance.id)
        .await;
    let second = next(&mut stream).await.unwrap();
    assert_eq!((second.state.as_str(), second.progress, second.revision), ("running", 14, 2));
    // Renewing a lease is no change.
    world
        .sql(
            "UPDATE operations SET lease_owner = 'w', lease_until = now() WHERE instance_id = $1",
            &instance.id,
        )
        .await;
    world.finish(&instance.id).await;
    let last = next(&mut stream).await.unwrap();
    assert_eq!((last.state.as_str(), last.progress, last.revision), ("succeeded", 100, 3));
    assert_eq!(next(&mut stream).await, None, "it ends with the operation");

    let mut resumed = world
        .client()
        .watch_operation(owner.ask(watch(&instance.id, &operation, 2)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut resumed).await.unwrap().revision, 3);
    assert_eq!(next(&mut resumed).await, None);
    world.stop.cancel();
}

/// INS-31: without the notification the poll finds the change.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_lost_notification_costs_seconds(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.create(&owner, "Acme").await;
    let operation = instance.current_operation.unwrap().id;
    let mut stream = world
        .client()
        .watch_operation(owner.ask(watch(&instance.id, &operation, 0)))
        .await
        .unwrap()
        .into_inner();
    next(&mut stream).await.unwrap();
    world.finish(&instance.id).await;
    assert_eq!(next(&mut stream).await.unwrap().state, "succeeded");
}

/// Streams have a number: of an account, and of a process; and an operation has one reader, however many
/// follow it.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_account_has_a_share_of_the_streams(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let instance = world.create(&owner, "Acme").await;
    let operation = instance.current_operation.unwrap().id;
    let open = async |person: &Person| {
        let request = person.ask(watch(&instance.id, &operation, 0));
        world.client().watch_operation(request).await.map(tonic::Response::into_inner)
    };
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = open(&owner).await.unwrap();
        next(&mut stream).await.unwrap();
        streams.push(stream);
    }
    assert_eq!(refused(open(&owner).await), (Code::ResourceExhausted, "rate_limited".into()));
    streams.push(open(&admin).await.unwrap());
    assert_eq!(world.app.wakeups.readers(), 1);
    streams.push(open(&admin).await.unwrap());
    assert_eq!(
        refused(open(&world.person(Role::Admin)).await).1,
        "rate_limited",
        "five in the whole process"
    );

    streams.remove(0);
    test_kit::eventually("a free seat", Duration::from_secs(5), || async { open(&owner).await.ok() }).await;
    drop(streams);
    test_kit::eventually("the end of the reader", Duration::from_secs(10), || async {
        (world.app.wakeups.readers() == 0).then_some(())
    })
    .await;
}

/// INS-32: what no worker has touched is taken back at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_queued_stop_is_taken_back(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    let operation = world.act(&owner, &id, "stop").await.operation_id.unwrap();
    let answer =
        world.client().cancel_operation(owner.ask(cancel(&id, &operation))).await.unwrap().into_inner();
    let cancelled = answer.operation.unwrap();
    assert_eq!((cancelled.state.as_str(), cancelled.cancellable), ("cancelled", false));
    let back = world.get(&owner, &id).await;
    assert_eq!(
        (back.status.as_str(), back.desired_state.as_str(), back.current_operation),
        ("running", "running", None)
    );
    let outcome = refused(world.client().cancel_operation(owner.ask(cancel(&id, &operation))).await);
    assert_eq!(outcome, (Code::FailedPrecondition, "not_cancellable".into()));
}

/// INS-32: a running create is ended and undone by its worker.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_running_create_is_asked_to_end(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.create(&owner, "Acme").await;
    let operation = instance.current_operation.unwrap().id;
    world.sql("UPDATE operations SET state = 'running', attempts = 1, not_before = now() + interval '1 h' WHERE instance_id = $1", &instance.id).await;
    let request = cancel(&instance.id, &operation);
    let answer = world.client().cancel_operation(owner.ask(request.clone())).await.unwrap().into_inner();
    assert_eq!(answer.operation.unwrap().state, "running");
    let asked: bool = world
        .scalar(
            "SELECT cancel_requested AND not_before <= now() FROM operations WHERE instance_id = $1",
            &instance.id,
        )
        .await;
    assert!(asked, "a wait ends too");
    assert_eq!(refused(world.client().cancel_operation(owner.ask(request)).await).1, "not_cancellable");
}

/// INS-32: what is half done is finished.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_running_stop_cannot_be_cancelled(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    let operation = world.act(&owner, &id, "stop").await.operation_id.unwrap();
    world
        .sql(
            "UPDATE operations SET state = 'running', attempts = 1 WHERE instance_id = $1 AND kind = 'stop'",
            &id,
        )
        .await;
    let outcome = refused(world.client().cancel_operation(owner.ask(cancel(&id, &operation))).await);
    assert_eq!(outcome.1, "not_cancellable");
}

/// INS-34
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_timeline_tells_who_caused_what(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    world.act(&owner, &id, "stop").await;
    let request = wire::ListEventsRequest { instance_id: id, page: 0, page_size: 0 };
    let answer = world.client().list_events(owner.ask(request)).await.unwrap().into_inner();
    let lines: Vec<(&str, &str)> =
        answer.events.iter().map(|event| (event.r#type.as_str(), event.cause.as_str())).collect();
    assert_eq!(lines, [("operation_requested", "customer"), ("created", "customer")]);
    assert_eq!(answer.total, 2);
}

/// INS-35
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn logs_are_real_lines_and_an_absent_pod_is_told(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    let ask = |lines: u32| {
        owner.ask(wire::GetInstanceLogsRequest { instance_id: id.clone(), lines, previous: false })
    };
    assert_eq!(world.client().get_instance_logs(ask(0)).await.unwrap().into_inner().lines.len(), 100);
    assert_eq!(world.client().get_instance_logs(ask(50)).await.unwrap().into_inner().lines.len(), 50);
    assert_eq!(refusal(world.client().get_instance_logs(ask(1001)).await).fields[0].field, "lines");
    world.fakes.state().no_pod = true;
    let outcome = refused(world.client().get_instance_logs(ask(10)).await);
    assert_eq!(outcome, (Code::FailedPrecondition, "no_pod".into()));
}

/// INS-36: a worker that does not answer costs two seconds and the probe, nothing else.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_status_shows_what_was_seen_and_a_probe(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    world.sql("UPDATE instances SET observed_phase = 'running', observed_ready = true, observed_restarts = 2, observed_pod_ip = '127.1.2.3', observed_node = 'n1' WHERE id = $1", &id).await;
    let ask = |person: &Person| person.ask(wire::GetInstanceStatusRequest { instance_id: id.clone() });
    let status = world.client().get_instance_status(ask(&owner)).await.unwrap().into_inner();
    let observed = status.observed.unwrap();
    assert_eq!((observed.phase.as_str(), observed.ready, observed.restart_count), ("running", true, 2));
    assert_eq!(observed.pod_ip, "", "for operators only");
    assert_eq!(status.probe.unwrap().latency_ms, 7);
    world.fakes.state().probe_delay = Some(Duration::from_secs(20));
    let status =
        world.client().get_instance_status(ask(&world.person(Role::Operator))).await.unwrap().into_inner();
    assert_eq!((status.probe, status.observed.unwrap().pod_ip.as_str()), (None, "127.1.2.3"));
}

/// INS-37
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_first_credentials_are_shown_once(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.create(&owner, "Acme").await.id;
    let reveal = |person: &Person| person.ask(wire::RevealCredentialsRequest { instance_id: id.clone() });
    assert_eq!(refused(world.client().reveal_credentials(reveal(&owner)).await).1, "invalid_state");
    world.finish(&id).await;
    for stranger in [world.customer(), world.person(Role::SuperAdmin)] {
        assert_eq!(refused(world.client().reveal_credentials(reveal(&stranger)).await).0, Code::NotFound);
    }
    world.fakes.state().no_password = true;
    assert_eq!(refused(world.client().reveal_credentials(reveal(&owner)).await).0, Code::Unavailable);
    world.fakes.state().no_password = false;
    let both = futures::future::join_all((0..6).map(|_| {
        let mut client = world.client();
        let request = reveal(&owner);
        async move { client.reveal_credentials(request).await }
    }))
    .await;
    let (shown, gone): (Vec<_>, Vec<_>) = both.into_iter().partition(Result::is_ok);
    assert_eq!(shown.len(), 1, "a failed fetch costs nothing");
    for outcome in gone {
        assert_eq!(refused(outcome), (Code::FailedPrecondition, "already_revealed".into()));
    }
}

/// INS-37
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn credentials_are_shown_for_a_week_only(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    let days: f64 = world
        .scalar("SELECT extract(epoch FROM credentials_until - created_at)::float8 / 86400 FROM instances WHERE id = $1", &id)
        .await;
    assert!((days - 7.0).abs() < 0.001);
    world.sql("UPDATE instances SET credentials_until = now() WHERE id = $1", &id).await;
    let request = owner.ask(wire::RevealCredentialsRequest { instance_id: id });
    assert_eq!(
        refused(world.client().reveal_credentials(request).await),
        (Code::FailedPrecondition, "expired".into())
    );
}
