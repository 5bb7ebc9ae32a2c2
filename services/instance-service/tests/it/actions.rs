//! Actions (INS-18…27).

use contracts::instance::v1 as wire;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;

use crate::support::{World, refusal, refused, wish};

/// INS-18, INS-19, INS-22
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn stop_and_start_are_operations_and_repeating_them_changes_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;

    let stopped = world.act(&owner, &id, "stop").await;
    assert_eq!((stopped.status.as_str(), stopped.changed), ("stopping", true));
    let again = world.act(&owner, &id, "stop").await;
    assert_eq!((again.changed, again.operation_id), (false, stopped.operation_id), "on its way already");
    assert_eq!(world.get(&owner, &id).await.desired_state, "stopped");
    world.finish(&id).await;
    let reached = world.act(&owner, &id, "stop").await;
    assert_eq!((reached.status.as_str(), reached.changed, reached.operation_id), ("stopped", false, None));

    let started = world.act(&owner, &id, "start").await;
    assert_eq!((started.status.as_str(), started.changed), ("starting", true));
    world.finish(&id).await;
    assert!(!world.act(&owner, &id, "start").await.changed);
}

/// INS-18, INS-23: a restart asks for another pod template.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_restart_changes_the_wanted_objects(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    let before: i64 = world.scalar("SELECT generation FROM instances WHERE id = $1", &id).await;
    assert_eq!(world.act(&owner, &id, "restart").await.status, "restarting");
    let after: i64 = world.scalar("SELECT generation FROM instances WHERE id = $1", &id).await;
    assert_eq!(after, before + 1);
    let marked: bool =
        world.scalar("SELECT restarted_at IS NOT NULL FROM instances WHERE id = $1", &id).await;
    assert!(marked);
}

/// INS-19
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_action_out_of_place_is_told_with_what_is_possible(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.create(&owner, "Acme").await.id;
    let outcome = refusal(world.try_act(&owner, wish(&id, "restart")).await);
    assert_eq!((outcome.code, outcome.reason.as_str()), (Code::FailedPrecondition, "invalid_state"));
    assert_eq!(outcome.metadata["status"], "creating");
    assert_eq!(outcome.metadata["allowed"], "terminate");
    assert_eq!(refused(world.try_act(&owner, wish(&id, "dance")).await).1, "unknown_action");
    for later in ["backup", "restore", "upgrade"] {
        let outcome = refused(world.try_act(&owner, wish(&id, later)).await);
        assert_eq!(outcome, (Code::Unimplemented, "not_implemented".into()));
    }
}

/// INS-20: one operation at a time, and terminate ends it.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn terminate_ends_the_running_operation(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.create(&owner, "Acme").await;
    let create = instance.current_operation.unwrap().id;
    world.sql("UPDATE instances SET status = 'starting' WHERE id = $1", &instance.id).await;
    world.sql("UPDATE operations SET state = 'running', lease_owner = 'w', lease_until = now() + interval '30 s' WHERE instance_id = $1", &instance.id).await;
    let outcome = refused(world.try_act(&owner, wish(&instance.id, "stop")).await);
    assert_eq!(outcome, (Code::FailedPrecondition, "operation_in_progress".into()));

    let request =
        wire::ActOnInstanceRequest { confirm: Some(instance.subdomain), ..wish(&instance.id, "terminate") };
    let acted = world.try_act(&owner, request).await.unwrap();

    assert_eq!((acted.status.as_str(), acted.changed), ("terminating", true));
    assert!(acted.purge_after.is_some());
    let ended = world.operation(&owner, &instance.id, &create).await;
    assert_eq!((ended.state.as_str(), ended.error.unwrap().reason.as_str()), ("cancelled", "superseded"));
    let lease: Option<String> = world
        .scalar("SELECT lease_owner FROM operations WHERE instance_id = $1 AND kind = 'create'", &instance.id)
        .await;
    assert_eq!(lease.as_deref(), Some("w"), "its worker lets go by itself");
}

/// INS-20, INS-30: parallel actions make one operation.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn parallel_actions_make_one_operation(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    let actions = (0..12).map(|number| {
        let (world, owner, id) = (&world, &owner, &id);
        async move {
            if number % 2 == 0 {
                world.try_act(owner, wish(id, "stop")).await
            } else {
                world.try_act(owner, wish(id, "restart")).await
            }
        }
    });
    let outcomes = futures::future::join_all(actions).await;
    assert!(outcomes.iter().any(|outcome| outcome.as_ref().is_ok_and(|acted| acted.changed)));
    let active: i64 = world
        .scalar(
            "SELECT count(*) FROM operations WHERE instance_id = $1 AND state IN ('queued', 'running')",
            &id,
        )
        .await;
    assert_eq!(active, 1);
    for outcome in outcomes {
        if let Err(status) = outcome {
            let reason = runtime::grpc::Refusal::from_status(&status).reason;
            assert!(["invalid_state", "operation_in_progress"].contains(&reason.as_str()), "{reason}");
        }
    }
}

/// INS-24, INS-25, INS-27: only admins.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_customer_neither_suspends_nor_unsuspends_nor_undeletes(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    for action in ["suspend", "unsuspend", "unpause", "undelete", "apply_resources"] {
        let request =
            wire::ActOnInstanceRequest { reason: Some("because I can".into()), ..wish(&id, action) };
        let outcome = refused(world.try_act(&owner, request.clone()).await);
        assert_eq!(outcome, (Code::PermissionDenied, "forbidden".into()), "{action}");
        let outcome = refused(world.try_act(&world.person(Role::Operator), request).await);
        assert_eq!(outcome.0, Code::PermissionDenied, "{action}");
    }
    for internal in ["purge", "retry"] {
        assert_eq!(refused(world.try_act(&owner, wish(&id, internal)).await).1, "unknown_action");
    }
}

/// INS-24, INS-25, SEC-17
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_admin_suspends_with_a_reason_and_it_returns_to_where_it_was(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let id = world.running(&owner, "Acme").await.id;
    world.act(&owner, &id, "stop").await;
    world.finish(&id).await;

    let short = wire::ActOnInstanceRequest { reason: Some("no".into()), ..wish(&id, "suspend") };
    assert_eq!(refusal(world.try_act(&admin, short).await).fields[0].field, "reason");
    let request = wire::ActOnInstanceRequest { reason: Some("sends spam".into()), ..wish(&id, "suspend") };
    assert_eq!(world.try_act(&admin, request).await.unwrap().status, "stopping");
    world.finish(&id).await;

    let suspended = world.get(&owner, &id).await;
    assert_eq!((suspended.status.as_str(), suspended.suspended_reason.as_str()), ("suspended", "sends spam"));
    let outcome = refused(world.try_act(&owner, wish(&id, "start")).await);
    assert_eq!(outcome.1, "invalid_state", "abuse is no debt");
    let audit: Vec<String> =
        world.scalar("SELECT ARRAY[actor, role, action, reason, request_id, client_ip] FROM audit_log WHERE instance_id = $1", &id).await;
    assert_eq!(
        audit,
        [
            admin.id.to_string(),
            "admin".into(),
            "suspend".into(),
            "sends spam".into(),
            "request-1".into(),
            "127.0.0.1".into()
        ]
    );

    world.act(&admin, &id, "unpause").await;
    world.finish(&id).await;
    let back = world.get(&owner, &id).await;
    assert_eq!((back.status.as_str(), back.desired_state.as_str()), ("stopped", "stopped"));
    assert_eq!(back.suspended_reason, "");
}

/// INS-26
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn terminating_needs_the_host_name_and_keeps_the_data(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    for confirm in [None, Some("wrong".to_owned())] {
        let request = wire::ActOnInstanceRequest { confirm, ..wish(&instance.id, "terminate") };
        let outcome = refusal(world.try_act(&owner, request).await);
        assert_eq!(
            (outcome.reason.as_str(), outcome.fields[0].field.as_str()),
            ("confirm_mismatch", "confirm")
        );
    }
    let request = wire::ActOnInstanceRequest {
        confirm: Some(instance.subdomain.clone()),
        ..wish(&instance.id, "terminate")
    };
    let with_backup = wire::ActOnInstanceRequest { final_backup: Some(true), ..request.clone() };
    let outcome = refused(world.try_act(&owner, with_backup).await);
    assert_eq!(
        outcome,
        (Code::Unimplemented, "not_implemented".into()),
        "nobody believes in a copy that is not made"
    );
    let answer = world.try_act(&owner, request.clone()).await.unwrap();
    assert!(answer.message.contains("no backup is made"), "{}", answer.message);
    world.finish(&instance.id).await;
    let days: f64 = world
        .scalar(
            "SELECT extract(epoch FROM purge_after - now())::float8 / 86400 FROM instances WHERE id = $1",
            &instance.id,
        )
        .await;
    assert!((29.9..30.1).contains(&days), "{days}");
    let again = world.try_act(&owner, request).await.unwrap();
    assert_eq!((again.status.as_str(), again.changed), ("terminated", false));
    let parameters: serde_json::Value = world
        .scalar(
            "SELECT parameters FROM operations WHERE instance_id = $1 AND kind = 'terminate'",
            &instance.id,
        )
        .await;
    assert_eq!(parameters["final_backup"], false);
}

/// INS-27
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_admin_brings_a_terminated_instance_back_but_not_a_purged_one(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let id = world.running(&owner, "Acme").await.id;
    world.act(&admin, &id, "terminate").await;
    world.finish(&id).await;

    let undelete =
        wire::ActOnInstanceRequest { reason: Some("asked by phone".into()), ..wish(&id, "undelete") };
    assert_eq!(world.try_act(&admin, undelete.clone()).await.unwrap().status, "creating");
    world.finish(&id).await;
    let back = world.get(&owner, &id).await;
    assert_eq!(
        (back.status.as_str(), back.desired_state.as_str(), back.purge_after),
        ("running", "running", None)
    );

    world.sql("UPDATE instances SET status = 'purged', purge_after = now() WHERE id = $1", &id).await;
    let outcome = refused(world.try_act(&admin, undelete).await);
    assert_eq!(outcome, (Code::FailedPrecondition, "purged".into()));
}

/// INS-18: an operator acts on others' instances, and it is written down.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_operator_may_start_and_stop_but_not_terminate(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, operator) = (world.customer(), world.person(Role::Operator));
    let instance = world.running(&owner, "Acme").await;
    assert!(world.act(&operator, &instance.id, "stop").await.changed);
    let request =
        wire::ActOnInstanceRequest { confirm: Some(instance.subdomain), ..wish(&instance.id, "terminate") };
    assert_eq!(refused(world.try_act(&operator, request).await).0, Code::PermissionDenied);
    let own = world.running(&operator, "Mine").await;
    let request = wire::ActOnInstanceRequest { confirm: Some(own.subdomain), ..wish(&own.id, "terminate") };
    world.try_act(&operator, request).await.expect("of its own it is a customer");
    let audited: i64 =
        world.scalar("SELECT count(*) FROM audit_log WHERE instance_id = $1", &instance.id).await;
    assert_eq!(audited, 1);
}
