//! Whose rows somebody sees (SEC-01, INS-15, INS-16), and what of them (INS-36, INS-40).

use contracts::instance::v1 as wire;
use contracts::services::{BILLING, DATABASE, GATEWAY, USER};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{Person, World, refused, wish};

/// Calls every method about one instance in the name of `person`.
async fn touch_all(
    world: &World,
    person: &Person,
    id: &str,
    operation: &str,
) -> Vec<(&'static str, Result<(), Status>)> {
    let mut client = world.client();
    let (instance_id, operation_id) = (id.to_owned(), operation.to_owned());
    let confirm = Some("acme".to_owned());
    let page = wire::ListEventsRequest { instance_id: instance_id.clone(), page: 1, page_size: 10 };
    let pages = wire::ListOperationsRequest { instance_id: instance_id.clone(), page: 1, page_size: 10 };
    let get = wire::GetInstanceRequest { instance_id: instance_id.clone() };
    let update = wire::UpdateInstanceRequest {
        instance_id: instance_id.clone(),
        name: Some("taken over".into()),
        ..Default::default()
    };
    let status = wire::GetInstanceStatusRequest { instance_id: instance_id.clone() };
    let logs = wire::GetInstanceLogsRequest { instance_id: instance_id.clone(), lines: 1, previous: false };
    let one =
        wire::GetOperationRequest { instance_id: instance_id.clone(), operation_id: operation_id.clone() };
    let watch = wire::WatchOperationRequest {
        instance_id: instance_id.clone(),
        operation_id: operation_id.clone(),
        after_revision: 0,
    };
    let cancel = wire::CancelOperationRequest { instance_id: instance_id.clone(), operation_id };
    let reveal = wire::RevealCredentialsRequest { instance_id: instance_id.clone() };
    let subscription: Uuid = world.scalar("SELECT subscription_id FROM instances WHERE id = $1", id).await;
    let by = wire::GetInstanceBySubscriptionRequest { subscription_id: subscription.to_string() };
    let mut outcomes = vec![
        ("get", client.get_instance(person.ask(get)).await.map(drop)),
        ("by subscription", client.get_instance_by_subscription(person.ask(by)).await.map(drop)),
        ("update", client.update_instance(person.ask(update)).await.map(drop)),
        ("status", client.get_instance_status(person.ask(status)).await.map(drop)),
        ("logs", client.get_instance_logs(person.ask(logs)).await.map(drop)),
        ("events", client.list_events(person.ask(page)).await.map(drop)),
        ("operations", client.list_operations(person.ask(pages)).await.map(drop)),
        ("operation", client.get_operation(person.ask(one)).await.map(drop)),
        ("watch", client.watch_operation(person.ask(watch)).await.map(drop)),
        ("cancel", client.cancel_operation(person.ask(cancel)).await.map(drop)),
        ("reveal", client.reveal_credentials(person.ask(reveal)).await.map(drop)),
    ];
    for action in
        ["start", "stop", "restart", "suspend", "unsuspend", "undelete", "apply_resources", "terminate"]
    {
        let request = wire::ActOnInstanceRequest {
            confirm: confirm.clone(),
            reason: Some("not mine".into()),
            ..wish(&instance_id, action)
        };
        outcomes.push((action, world.try_act(person, request).await.map(drop)));
    }
    outcomes
}

/// SEC-01, INS-15: a stranger's call on any route is as if there were no such instance.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn another_customers_instance_is_not_there(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    let operation = world.act(&owner, &instance.id, "stop").await.operation_id.unwrap();
    let before: i64 = world.scalar("SELECT version FROM instances WHERE id = $1", &instance.id).await;

    let stranger = world.customer();
    for (call, outcome) in touch_all(&world, &stranger, &instance.id, &operation).await {
        let status = outcome.expect_err(call);
        assert_eq!(status.code(), Code::NotFound, "{call}: {status}");
    }

    let unknown = wire::GetInstanceRequest { instance_id: Uuid::now_v7().to_string() };
    let nowhere = world.client().get_instance(stranger.ask(unknown)).await.unwrap_err();
    let theirs = wire::GetInstanceRequest { instance_id: instance.id.clone() };
    let hidden = world.client().get_instance(stranger.ask(theirs)).await.unwrap_err();
    assert_eq!((nowhere.message(), nowhere.details()), (hidden.message(), hidden.details()));
    let after: i64 = world.scalar("SELECT version FROM instances WHERE id = $1", &instance.id).await;
    assert_eq!(after, before, "nothing was written");
}

/// INS-16
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn lists_show_ones_own_and_operators_may_ask_for_more(pool: PgPool) {
    let world = World::start(pool).await;
    let (one, two) = (world.customer(), world.customer());
    for name in ["Beta", "alpha", "100% gamma"] {
        world.create(&one, name).await;
    }
    world.running(&two, "Beta of two").await;
    let list = async |person: &Person, request: wire::ListInstancesRequest| {
        let answer = world.client().list_instances(person.ask(request)).await?.into_inner();
        let names: Vec<String> = answer.instances.into_iter().map(|instance| instance.name).collect();
        Ok::<_, Status>((names, answer.total))
    };
    let all = wire::ListInstancesRequest::default();

    let (names, total) =
        list(&one, wire::ListInstancesRequest { sort: "name".into(), ..all.clone() }).await.unwrap();
    assert_eq!((names, total), (vec!["100% gamma".into(), "alpha".into(), "Beta".into()], 3));
    let page = wire::ListInstancesRequest { sort: "created_at".into(), page: 2, page_size: 2, ..all.clone() };
    assert_eq!(list(&one, page).await.unwrap(), (vec!["100% gamma".into()], 3));
    let query = wire::ListInstancesRequest { query: "ALPH".into(), ..all.clone() };
    assert_eq!(list(&one, query).await.unwrap(), (vec!["alpha".into()], 1));
    let running = wire::ListInstancesRequest { status: vec!["running".into()], ..all.clone() };
    assert_eq!(list(&one, running.clone()).await.unwrap(), (vec![], 0));
    assert_eq!(list(&two, running).await.unwrap().1, 1);

    let foreign = wire::ListInstancesRequest { customer_id: Some(two.id.to_string()), ..all.clone() };
    assert_eq!(refused(list(&one, foreign.clone()).await), (Code::PermissionDenied, "forbidden".into()));
    let everything = wire::ListInstancesRequest { all_customers: true, ..all.clone() };
    assert_eq!(refused(list(&one, everything.clone()).await).0, Code::PermissionDenied);
    let operator = world.person(Role::Operator);
    assert_eq!(list(&operator, foreign).await.unwrap().1, 1);
    assert_eq!(list(&operator, everything).await.unwrap().1, 4);
    for bad in [
        wire::ListInstancesRequest { sort: "price".into(), ..all.clone() },
        wire::ListInstancesRequest { status: vec!["happy".into()], ..all.clone() },
        wire::ListInstancesRequest { page_size: 101, ..all.clone() },
    ] {
        assert_eq!(refused(list(&one, bad).await).1, "validation_failed");
    }
}

/// SEC-05: text of customers is never SQL.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn hostile_text_is_text(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    for text in ["'; DROP TABLE instances; --", "\\", "%", "_", "a' OR '1'='1", "$1", "x\u{301}"] {
        let instance = world.create(&owner, text).await;
        assert_eq!(instance.name, text);
        let request = wire::ListInstancesRequest { query: text.to_owned(), ..Default::default() };
        let answer = world.client().list_instances(owner.ask(request)).await.unwrap().into_inner();
        assert_eq!(answer.instances.iter().filter(|found| found.name == text).count(), 1, "{text:?}");
        assert!(answer.instances.iter().all(|found| found.name.contains(text)), "{text:?} is no wildcard");
    }
    // What PostgreSQL cannot hold, and what nobody sees, is refused by name.
    for bad in ["a\0b", "\u{202e}x"] {
        let order = wire::CreateInstanceRequest { description: bad.into(), ..crate::support::order("fine") };
        assert_eq!(
            crate::support::refusal(world.try_create(&owner, order).await).fields[0].field,
            "description"
        );
        let request = wire::ListInstancesRequest { query: bad.into(), ..Default::default() };
        assert_eq!(refused(world.client().list_instances(owner.ask(request)).await).1, "validation_failed");
    }
}

/// INS-40: what is the platform's is hidden from customers, and no answer has a password.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn customers_do_not_see_the_platforms_side(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let id = world.running(&owner, "Acme").await.id;
    world
        .sql("UPDATE instances SET db_name = 'odoo_x', db_host = 'postgres-pool-1', db_port = 5432, db_server_id = gen_random_uuid() WHERE id = $1", &id)
        .await;
    let seen = world.get(&owner, &id).await;
    assert_eq!(
        (seen.db_name.as_str(), seen.db_host.as_str(), seen.db_port),
        ("odoo_x", "postgres-pool-1", 5432)
    );
    let hidden = [&seen.internal_url, &seen.db_server_id, &seen.deployment_name, &seen.namespace];
    assert!(hidden.into_iter().all(String::is_empty));
    let whole = world.get(&world.person(Role::Operator), &id).await;
    assert_eq!((whole.deployment_name, whole.namespace.as_str()), (format!("odoo-{id}"), "odoo-instances"));
    assert!(!whole.db_server_id.is_empty());
}

/// SEC-02, USR-22: ranks of the operators' routes, and which service may ask what.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn ranks_and_services_are_checked(pool: PgPool) {
    let world = World::start(pool).await;
    let mut client = world.admin_client();
    let stats = |role| world.person(role).ask(wire::GetInstanceStatsRequest {});
    assert_eq!(refused(client.get_instance_stats(stats(Role::Customer)).await).0, Code::PermissionDenied);
    client.get_instance_stats(stats(Role::Operator)).await.unwrap();
    let orphans = |role| world.person(role).ask(wire::ListOrphansRequest {});
    assert_eq!(refused(client.list_orphans(orphans(Role::Operator)).await).0, Code::PermissionDenied);
    client.list_orphans(orphans(Role::Admin)).await.unwrap();

    let count = || wire::CountInstancesRequest { customer_ids: vec![] };
    for (service, allowed) in [(USER, true), (BILLING, true), (GATEWAY, false), (DATABASE, false)] {
        let outcome = world.directory_as(service).count_instances(count()).await;
        assert_eq!(outcome.is_ok(), allowed, "{service}");
    }
}
