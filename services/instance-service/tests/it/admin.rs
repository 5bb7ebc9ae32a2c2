//! Operators' routes (INS-38, MON-01…05) and other services (USR-20).

use contracts::instance::v1 as wire;
use contracts::services::{AUTOMATION, BILLING, NOTIFICATION, USER};
use contracts::worker::v1::ClusterDifference;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::support::{World, refusal, refused};

/// INS-38
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_failed_operation_is_listed_and_tried_again(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, operator) = (world.customer(), world.person(Role::Operator));
    let id = world.create(&owner, "Acme").await.id;
    world.running(&owner, "Fine").await;
    world.fail(&id).await;

    let request = wire::ListFailedInstancesRequest { page: 0, page_size: 0 };
    let failed =
        world.admin_client().list_failed_instances(operator.ask(request)).await.unwrap().into_inner();
    assert_eq!((failed.total, failed.instances[0].id.as_str()), (1, id.as_str()));
    assert_eq!(failed.instances[0].error.as_ref().unwrap().reason, "broken");

    let retry = || {
        operator
            .ask(wire::RetryInstanceRequest { instance_id: id.clone(), reason: Some("pool is back".into()) })
    };
    let acted = world.admin_client().retry_instance(retry()).await.unwrap().into_inner().action.unwrap();
    assert_eq!((acted.action.as_str(), acted.status.as_str()), ("retry", "creating"));
    let operation = world.operation(&owner, &id, &acted.operation_id.unwrap()).await;
    assert_eq!(operation.kind, "create");
    assert_eq!(world.get(&owner, &id).await.error, None, "it moves again");
    assert_eq!(refused(world.admin_client().retry_instance(retry()).await).1, "operation_in_progress");
    world.finish(&id).await;
    let outcome = refused(world.admin_client().retry_instance(retry()).await);
    assert_eq!(outcome, (Code::FailedPrecondition, "nothing_to_retry".into()));
    let reason: String = world.scalar("SELECT reason FROM audit_log WHERE instance_id = $1", &id).await;
    assert_eq!(reason, "pool is back");
}

/// SEC-02, SEC-17: a script suspends in its own name, which the audit row tells; billing's word is a hold of
/// its own kind; others may not.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn services_act_in_their_own_names(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    let suspend = |id: &str| wire::ActOnInstanceRequest {
        instance_id: id.to_owned(),
        action: "suspend".into(),
        reason: Some("abuse was reported".into()),
        ..wire::ActOnInstanceRequest::default()
    };
    let act = async |service: &str, message| {
        world
            .client()
            .act_on_instance(world.service(service).ask(message))
            .await
            .map(tonic::Response::into_inner)
    };
    let acted = act(AUTOMATION, suspend(&id)).await.unwrap();
    assert_eq!((acted.action.as_str(), acted.changed), ("suspend", true));
    world.finish(&id).await;
    let actor: String = world.scalar("SELECT actor FROM audit_log WHERE instance_id = $1", &id).await;
    assert_eq!(actor, AUTOMATION);
    let role: String = world.scalar("SELECT role FROM audit_log WHERE instance_id = $1", &id).await;
    assert_eq!(role, "service");

    let other = world.running(&owner, "Other").await.id;
    act(BILLING, suspend(&other)).await.unwrap();
    world.finish(&other).await;
    let start = wire::ActOnInstanceRequest { action: "start".into(), ..suspend(&other) };
    let refused_start = refused(world.client().act_on_instance(owner.ask(start.clone())).await);
    assert_eq!(refused_start.1, "payment_required");
    assert_eq!(refused(act(BILLING, start).await).0, Code::PermissionDenied);
    assert_eq!(refused(act(NOTIFICATION, suspend(&other)).await).0, Code::PermissionDenied);

    let subscription = world.get(&owner, &id).await.subscription_id;
    let find = wire::GetInstanceBySubscriptionRequest { subscription_id: subscription };
    let found = world.client().get_instance_by_subscription(world.service(BILLING).ask(find)).await;
    assert_eq!(found.unwrap().into_inner().instance.unwrap().id, id);
}

/// INS-38
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn counts_are_true(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    world.running(&owner, "one").await;
    world.create(&owner, "two two").await;
    let purged = world.create(&owner, "three").await.id;
    world.sql("UPDATE instances SET status = 'purged', purge_after = now() WHERE id = $1", &purged).await;
    let request = world.person(Role::Operator).ask(wire::GetInstanceStatsRequest {});
    let stats = world.admin_client().get_instance_stats(request).await.unwrap().into_inner();
    assert_eq!((stats.total, stats.by_status.len()), (2, 2));
    assert_eq!(
        (stats.by_status["running"], stats.by_plan["basic-monthly"], stats.by_version["17"]),
        (1, 2, 2)
    );
}

/// INS-26, SEC-17
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_purge_is_shown_first_and_needs_a_reason(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let (old, young) =
        (world.running(&owner, "old one").await.id, world.running(&owner, "young one").await.id);
    for id in [&old, &young] {
        world.act(&admin, id, "terminate").await;
        world.finish(id).await;
    }
    world.sql("UPDATE instances SET purge_after = now() - interval '1 s' WHERE id = $1", &old).await;
    let purge =
        |dry_run, reason: &str| admin.ask(wire::PurgeExpiredRequest { dry_run, reason: reason.into() });
    let shown = world.admin_client().purge_expired(purge(true, "")).await.unwrap().into_inner().instance_ids;
    assert_eq!(shown, std::slice::from_ref(&old));
    assert_eq!(world.get(&admin, &old).await.current_operation, None, "a dry run does nothing");
    assert_eq!(refusal(world.admin_client().purge_expired(purge(false, "")).await).fields[0].field, "reason");
    let begun = world.admin_client().purge_expired(purge(false, "disk is short")).await.unwrap().into_inner();
    assert_eq!(begun.instance_ids, std::slice::from_ref(&old));
    assert_eq!(world.get(&admin, &old).await.current_operation.unwrap().kind, "purge");
    world.finish(&old).await;
    assert_eq!(world.get(&admin, &old).await.status, "purged");
}

/// K8S-31
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn orphans_are_reported(pool: PgPool) {
    let world = World::start(pool).await;
    let difference = |object: &str, kind: &str| ClusterDifference {
        instance_id: "i".into(),
        object: object.into(),
        kind: kind.into(),
        detail: String::new(),
        namespace: "odoo-instances".into(),
    };
    world.fakes.state().differences =
        vec![difference("Service/odoo-1", "orphan"), difference("Ingress/odoo-2", "missing")];
    let admin = world.person(Role::Admin);
    let objects = world
        .admin_client()
        .list_orphans(admin.ask(wire::ListOrphansRequest {}))
        .await
        .unwrap()
        .into_inner()
        .objects;
    assert_eq!(objects.len(), 1);
    assert_eq!((objects[0].kind.as_str(), objects[0].name.as_str()), ("Service", "odoo-1"));
}

/// MON-01, MON-03, MON-04, SEC-17
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn monitoring_is_switched_by_admins_and_written_down(pool: PgPool) {
    let world = World::start(pool).await;
    let admin = world.person(Role::Admin);
    let mut client = world.admin_client();
    let set = |command: &str, reason: &str| {
        admin.ask(wire::SetMonitoringRequest { command: command.into(), reason: reason.into() })
    };
    let started = client.set_monitoring(set("start", "")).await.unwrap().into_inner();
    assert_eq!((started.status.as_str(), started.changed), ("running", true));
    assert!(!client.set_monitoring(set("start", "")).await.unwrap().into_inner().changed);
    assert_eq!(refusal(client.set_monitoring(set("stop", "")).await).fields[0].field, "reason");
    let stopped = client.set_monitoring(set("stop", "maintenance of nodes")).await.unwrap().into_inner();
    assert_eq!((stopped.status.as_str(), stopped.changed), ("stopped", true));
    let row = client.get_monitoring(admin.ask(wire::GetMonitoringRequest {})).await.unwrap().into_inner();
    assert_eq!((row.status.as_str(), row.enabled), ("stopped", false));
    client.set_monitoring(set("restart", "")).await.unwrap();
    assert_eq!(refusal(client.set_monitoring(set("dance", "")).await).fields[0].field, "command");
    let actions: Vec<String> = sqlx::query_scalar("SELECT action FROM audit_log ORDER BY at, id")
        .fetch_all(&world.pool)
        .await
        .unwrap();
    assert_eq!(actions, ["monitoring.start", "monitoring.stop", "monitoring.restart"]);

    sqlx::query("UPDATE monitoring SET leader = 'w1', watch_connected = true, reported_at = now(), last_event_at = now()")
        .execute(&world.pool).await.unwrap();
    let row = client.get_monitoring(admin.ask(wire::GetMonitoringRequest {})).await.unwrap().into_inner();
    assert_eq!((row.leader.as_str(), row.watch_connected), ("w1", true));
    assert!(row.last_event_at.is_some());
    sqlx::query("UPDATE monitoring SET reported_at = now() - interval '5 min'")
        .execute(&world.pool)
        .await
        .unwrap();
    let row = client.get_monitoring(admin.ask(wire::GetMonitoringRequest {})).await.unwrap().into_inner();
    assert_eq!(
        (row.leader.as_str(), row.watch_connected),
        ("", false),
        "an old report says nothing about now"
    );
}

/// MON-05
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_comparison_is_a_task_or_a_dry_run(pool: PgPool) {
    let world = World::start(pool).await;
    let admin = world.person(Role::Admin);
    world.fakes.state().differences = vec![ClusterDifference {
        instance_id: "i".into(),
        object: "Deployment/odoo-1".into(),
        kind: "missing".into(),
        detail: "absent".into(),
        namespace: "odoo-instances".into(),
    }];
    let ask = |dry_run| admin.ask(wire::ReconcileRequest { dry_run, instance_id: None });
    let dry = world.admin_client().reconcile(ask(true)).await.unwrap().into_inner();
    assert_eq!((dry.task_id, dry.differences.len()), (None, 1));
    let wished: Option<Uuid> =
        sqlx::query_scalar("SELECT reconcile_task FROM monitoring").fetch_one(&world.pool).await.unwrap();
    assert_eq!(wished, None);
    let task = world.admin_client().reconcile(ask(false)).await.unwrap().into_inner().task_id.unwrap();
    let wished: Option<Uuid> =
        sqlx::query_scalar("SELECT reconcile_task FROM monitoring").fetch_one(&world.pool).await.unwrap();
    assert_eq!(wished.map(|id| id.to_string()), Some(task));
    let nowhere = wire::ReconcileRequest { dry_run: false, instance_id: Some(Uuid::now_v7().to_string()) };
    assert_eq!(refused(world.admin_client().reconcile(admin.ask(nowhere)).await).0, Code::NotFound);
}

/// USR-20: a closed account's instances are terminated, once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn all_instances_of_a_closed_account_are_terminated(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, other) = (world.customer(), world.customer());
    for name in ["one one", "two two"] {
        world.running(&owner, name).await;
    }
    world.create(&owner, "three").await;
    world.running(&other, "four").await;
    let count =
        wire::CountInstancesRequest { customer_ids: vec![owner.id.to_string(), Uuid::nil().to_string()] };
    let counts = world.directory_as(BILLING).count_instances(count).await.unwrap().into_inner().counts;
    assert_eq!((counts[&owner.id.to_string()], counts[&Uuid::nil().to_string()]), (3, 0));
    let request =
        || wire::TerminateAllRequest { customer_id: owner.id.to_string(), reason: "account closed".into() };
    assert_eq!(world.directory_as(USER).terminate_all(request()).await.unwrap().into_inner().count, 3);
    assert_eq!(world.directory_as(USER).terminate_all(request()).await.unwrap().into_inner().count, 0);
    assert_eq!(refused(world.directory_as(BILLING).terminate_all(request()).await).0, Code::PermissionDenied);
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM instances WHERE status <> 'terminating'")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(left, 1);
}

/// Billing finds the instance of an order.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_order_finds_its_instance(pool: PgPool) {
    let world = World::start(pool).await;
    let instance = world.create(&world.customer(), "Acme").await;
    let find = |id: String| wire::FindBySubscriptionRequest { subscription_id: id };
    let mut client = world.directory_as(BILLING);
    let found = client.find_by_subscription(find(instance.subscription_id)).await.unwrap().into_inner();
    assert_eq!((found.found, found.instance_id), (true, instance.id));
    assert!(!client.find_by_subscription(find(Uuid::now_v7().to_string())).await.unwrap().into_inner().found);
}

/// BIL-37: the audit gets each live instance once, page by page, and no terminated one.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn the_audit_lists_live_instances_page_by_page(pool: PgPool) {
    let world = World::start(pool).await;
    let customer = world.customer();
    let mut made = Vec::new();
    for name in ["One", "Two", "Three"] {
        made.push(world.create(&customer, name).await);
    }
    world
        .sql("UPDATE instances SET status = 'terminated', purge_after = now() WHERE id = $1", &made[1].id)
        .await;
    let mut client = world.directory_as(BILLING);
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = wire::ListLiveRequest { after, page_size: 1 };
        let page = client.list_live(page).await.unwrap().into_inner().instances;
        let Some(last) = page.last() else { break };
        after = last.instance_id.clone();
        found.extend(page);
    }
    let seen: Vec<_> = found.into_iter().map(|live| (live.instance_id, live.subscription_id)).collect();
    let live = [&made[0], &made[2]].map(|one| (one.id.clone(), one.subscription_id.clone()));
    assert_eq!(seen, live);
    let none = wire::ListLiveRequest { after: String::new(), page_size: 0 };
    assert!(client.list_live(none).await.is_err());
}
