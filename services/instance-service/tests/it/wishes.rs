//! Whatever a row wants stays wanted: what failed is tried again by the sweep, after a rest, until it is so
//! (REL-04).

use contracts::instance::v1 as wire;
use contracts::services::BILLING;
use instance::domain::Action;
use instance::store::instances;
use instance_service::sweep;
use runtime::identity::Role;
use sqlx::PgPool;
use uuid::Uuid;

use crate::messages::{fact, status, tell};
use crate::support::{Person, World, order, wish};

/// Time passes since the last failures of an instance.
async fn rested(world: &World, id: &str, minutes: &str) {
    let sql = format!(
        "UPDATE operations SET finished_at = now() - interval '{minutes} minutes' WHERE instance_id = $1 AND state = 'failed'"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(Uuid::parse_str(id).unwrap())
        .execute(&world.pool)
        .await
        .unwrap();
    sweep::once(&world.app).await.unwrap();
}

async fn terminate(world: &World, owner: &Person, instance: &wire::Instance) {
    let request = wire::ActOnInstanceRequest {
        confirm: Some(instance.subdomain.clone()),
        ..wish(&instance.id, "terminate")
    };
    world.try_act(owner, request).await.unwrap();
}

/// INS-26: an outage that outlives a terminate does not leave an instance that runs on.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_terminate_that_failed_is_tried_until_it_is_done(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    terminate(&world, &owner, &instance).await;
    let purge_after = world.get(&owner, &instance.id).await.purge_after;
    world.fail(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(status(&world, &owner, &instance.id).await, "error", "it rests first");

    rested(&world, &instance.id, "1.5").await;
    assert_eq!(status(&world, &owner, &instance.id).await, "terminating");
    world.fail(&instance.id).await;
    rested(&world, &instance.id, "1.5").await;
    assert_eq!(status(&world, &owner, &instance.id).await, "error", "it rests longer after each failure");
    rested(&world, &instance.id, "2.5").await;
    world.finish(&instance.id).await;

    let ended = world.get(&owner, &instance.id).await;
    assert_eq!((ended.status.as_str(), ended.purge_after), ("terminated", purge_after));
}

/// INS-24: the same for a suspension, and for the way back from a termination.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn every_wish_is_tried_again(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let debtor = world.running(&owner, "Debtor").await;
    let topic = contracts::events::topics::SUBSCRIPTION_SUSPENDED;
    tell(&world, topic, &fact(&debtor, "payment_required")).await;
    world.fail(&debtor.id).await;
    rested(&world, &debtor.id, "2").await;
    assert_eq!(status(&world, &owner, &debtor.id).await, "stopping");
    world.finish(&debtor.id).await;
    assert_eq!(status(&world, &owner, &debtor.id).await, "suspended");

    let back = world.running(&owner, "Back").await;
    world.act(&world.person(Role::Admin), &back.id, "terminate").await;
    world.finish(&back.id).await;
    let undelete = wire::ActOnInstanceRequest {
        reason: Some("agreed by telephone".into()),
        ..wish(&back.id, "undelete")
    };
    world.try_act(&world.person(Role::Admin), undelete).await.unwrap();
    world.fail(&back.id).await;
    rested(&world, &back.id, "2").await;
    let again = world.get(&owner, &back.id).await;
    assert_eq!(
        (again.status.as_str(), again.current_operation.unwrap().kind.as_str()),
        ("creating", "undelete")
    );
}

/// What cannot be done now hides nothing that comes behind it.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_sweep_goes_through_all_that_is_due(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let instance = world.running(&owner, &format!("Shop {name}")).await;
        world.sql("UPDATE instances SET operator_hold = true WHERE id = $1", &instance.id).await;
        ids.push(Uuid::parse_str(&instance.id).unwrap());
    }
    let mut connection = world.pool.acquire().await.unwrap();
    let (mut after, mut found) = (Uuid::nil(), Vec::new());
    loop {
        let page = instances::due(&mut connection, runtime::clock::now(), after, 1).await.unwrap();
        let Some(due) = page.first() else { break };
        assert_eq!(due.action, Action::Suspend);
        (after, found) = (due.id, [found, vec![due.id]].concat());
    }
    assert_eq!(found, ids);
}

/// INS-07, INS-38: what never ran can be tried again, whatever others heard of its failure; once given up,
/// its name is free at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_create_that_failed_is_tried_again_or_frees_its_name(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.create(&owner, "Acme").await;
    let asked = wire::FindBySubscriptionRequest { subscription_id: instance.subscription_id.clone() };
    let found =
        async || world.directory_as(BILLING).find_by_subscription(asked.clone()).await.unwrap().into_inner();
    assert_eq!((found().await.provisioned, found().await.error_since), (false, None));
    world.fail(&instance.id).await;
    world.sql("UPDATE instances SET error_at = now() WHERE id = $1", &instance.id).await;
    assert!(found().await.error_since.is_some());
    assert!(!found().await.provisioned);

    let retry = wire::RetryInstanceRequest {
        instance_id: instance.id.clone(),
        reason: Some("images are back".into()),
    };
    let operator = world.person(Role::Operator);
    world.admin_client().retry_instance(operator.ask(retry)).await.unwrap();
    assert_eq!(found().await.error_since, None);
    world.fail(&instance.id).await;

    terminate(&world, &owner, &instance).await;
    world.finish(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    world.finish(&instance.id).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "purged");
    let again = wire::CreateInstanceRequest { subdomain: Some(instance.subdomain), ..order("x") };
    world.try_create(&owner, again).await.unwrap();
}
