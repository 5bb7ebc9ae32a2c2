//! Another plan for a live instance: limits, volume, and the place of the database (BIL-21, BIL-22, INS-29,
//! DBS-33).

use contracts::events::topics;
use contracts::instance::v1 as wire;
use contracts::services::BILLING;
use instance_service::sweep;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;

use crate::messages::{fact, tell};
use crate::support::{Person, World, refused, wish};

/// A running instance with a database on a shared server.
async fn placed(world: &World, owner: &Person) -> wire::Instance {
    let instance = world.running(owner, "Acme").await;
    world
        .sql(
            "UPDATE instances SET db_name = 'd', db_host = 'h', db_port = 5432, db_server_id = gen_random_uuid() WHERE id = $1",
            &instance.id,
        )
        .await;
    instance
}

async fn change(world: &World, instance: &wire::Instance, plan: &'static str) {
    world.fakes.state().entitled_plan = Some(plan);
    for _ in 0..2 {
        tell(world, topics::SUBSCRIPTION_CHANGED, &fact(instance, "paid")).await;
    }
}

/// The worker moved the database.
async fn moved(world: &World, instance: &str, place: &'static str) {
    let sql = match place {
        "dedicated" => "UPDATE instances SET db_type = 'dedicated' WHERE id = $1",
        _ => "UPDATE instances SET db_type = 'shared' WHERE id = $1",
    };
    world.sql(sql, instance).await;
    world.finish(instance).await;
}

async fn operations(world: &World, instance: &str) -> Vec<String> {
    world
        .scalar(
            "SELECT array_agg(kind ORDER BY created_at, id) FROM operations WHERE instance_id = $1",
            instance,
        )
        .await
}

const WISHES: &str = "SELECT count(*) FROM database_wishes WHERE instance_id = $1";

/// BIL-21, INS-29, DBS-33: a plan with a database of its own moves the database; the same one new pod has the
/// new limits. Back again it is the same.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_plan_with_a_database_of_its_own_moves_it_by_one_operation(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = placed(&world, &owner).await;
    change(&world, &instance, "premium-monthly").await;
    let larger = world.get(&owner, &instance.id).await;
    assert_eq!((larger.plan.as_str(), larger.plan_tier.as_str()), ("premium-monthly", "premium"));
    assert_eq!((larger.cpu_millis, larger.memory_mib, larger.storage_mib), (4000, 8192, 50 * 1024));
    assert_eq!(larger.status, "maintenance");
    let asked: serde_json::Value = world
        .scalar(
            "SELECT parameters FROM operations WHERE instance_id = $1 AND kind = 'move_database'",
            &instance.id,
        )
        .await;
    assert_eq!((&asked["dedicated"], &asked["plan_tier"]), (&true.into(), &"premium".into()));
    moved(&world, &instance.id, "dedicated").await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(operations(&world, &instance.id).await, ["create", "move_database"], "nothing is left to do");
    assert_eq!(world.scalar::<i64>(WISHES, &instance.id).await, 0);

    change(&world, &instance, "basic-monthly").await;
    let smaller = world.get(&owner, &instance.id).await;
    assert_eq!((smaller.cpu_millis, smaller.storage_mib), (1000, 50 * 1024), "storage only grows");
    assert_eq!(smaller.status, "maintenance");
    moved(&world, &instance.id, "shared").await;
    assert_eq!(operations(&world, &instance.id).await, ["create", "move_database", "move_database"]);
}

/// DBS-33, REL-04: a move that cannot begin now begins later, one that failed after a rest; and an operator's
/// decision on the place ends the wish.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_wished_move_waits_for_its_moment_and_rests_after_a_failure(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = placed(&world, &owner).await;
    world.act(&owner, &instance.id, "stop").await;
    change(&world, &instance, "premium-monthly").await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(operations(&world, &instance.id).await, ["create", "stop"]);
    assert_eq!(world.get(&owner, &instance.id).await.cpu_millis, 4000, "the row knows already");
    world.finish(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(operations(&world, &instance.id).await, ["create", "stop", "move_database"]);

    world.fail(&instance.id).await;
    world.sql("UPDATE instances SET status = 'stopped' WHERE id = $1", &instance.id).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(
        operations(&world, &instance.id).await.len(),
        3,
        "not again and again: each try is a time off"
    );
    world.sql("UPDATE database_wishes SET not_before = now() WHERE instance_id = $1", &instance.id).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(operations(&world, &instance.id).await.len(), 4);

    world.fail(&instance.id).await;
    world.sql("UPDATE instances SET status = 'stopped' WHERE id = $1", &instance.id).await;
    let request = wire::MoveDatabaseRequest {
        instance_id: instance.id.clone(),
        target_pool: "postgres-pool-2".into(),
        reason: "closer to its users".into(),
        ..wire::MoveDatabaseRequest::default()
    };
    let admin = world.person(Role::Admin);
    world.admin_client().move_database(admin.ask(request)).await.unwrap();
    assert_eq!(world.scalar::<i64>(WISHES, &instance.id).await, 0, "the operator has decided on the place");
}

/// INS-29, DBS-33: the database of a suspended instance moves too, and the instance stays suspended.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_suspended_instance_moves_and_stays_suspended(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = placed(&world, &owner).await;
    let admin = world.person(Role::Admin);
    let suspend = wire::ActOnInstanceRequest {
        reason: Some("a check of abuse".into()),
        ..wish(&instance.id, "suspend")
    };
    world.try_act(&admin, suspend).await.unwrap();
    world.finish(&instance.id).await;
    change(&world, &instance, "premium-monthly").await;
    assert_eq!(operations(&world, &instance.id).await, ["create", "suspend", "move_database"]);
    world.finish(&instance.id).await;
    let moved = world.get(&owner, &instance.id).await;
    assert_eq!((moved.status.as_str(), moved.cpu_millis), ("suspended", 4000));
    sweep::once(&world.app).await.unwrap();
    assert_eq!(operations(&world, &instance.id).await.len(), 3, "nothing is left to do");
}

/// INS-17, INS-29: what the customer chose below the plan stays chosen, up and down.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn another_plan_keeps_what_the_customer_chose(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let order = wire::CreateInstanceRequest {
        cpu_millis: Some(500),
        storage_mib: Some(2 * 1024),
        ..crate::support::order("Acme")
    };
    let id = world.try_create(&owner, order).await.unwrap().instance.unwrap().id;
    world.finish(&id).await;
    let instance = world.get(&owner, &id).await;
    change(&world, &instance, "premium-monthly").await;
    let larger = world.get(&owner, &id).await;
    assert_eq!((larger.cpu_millis, larger.memory_mib, larger.storage_mib), (500, 8192, 2 * 1024));
    world.finish(&id).await;
    change(&world, &instance, "basic-monthly").await;
    let smaller = world.get(&owner, &id).await;
    assert_eq!((smaller.cpu_millis, smaller.memory_mib, smaller.storage_mib), (500, 2048, 2 * 1024));
}

/// BIL-22, SEC-02: billing asks what a volume holds; nobody else does, and an instance that is off has no
/// answer.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn billing_asks_what_a_volume_holds(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    let request = wire::GetStorageUsageRequest { instance_id: instance.id.clone() };
    let mut billing = world.directory_as(BILLING);
    let usage = billing.get_storage_usage(request.clone()).await.unwrap().into_inner();
    assert_eq!((usage.used_bytes, usage.limit_bytes), (5 << 20, 10 << 30));
    world.fakes.state().no_pod = true;
    assert_eq!(refused(billing.get_storage_usage(request.clone()).await).1, "no_pod");
    let other = world.directory_as(contracts::services::USER).get_storage_usage(request).await;
    assert_eq!(other.unwrap_err().code(), Code::PermissionDenied);
}
