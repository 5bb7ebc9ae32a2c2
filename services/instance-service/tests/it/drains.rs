//! Pools that are emptied (DBS-33): all tenants, some at a time, whatever dies or fails on the way.

use contracts::instance::v1 as wire;
use contracts::services::AUTOMATION;
use instance_service::app::drain;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::support::{Person, World, refused};

/// Instances that run on `server`.
async fn tenants(world: &World, owner: &Person, server: Uuid, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let id = world.running(owner, &format!("tenant {number}")).await.id;
        put(world, &id, server).await;
        ids.push(id);
    }
    ids
}

async fn put(world: &World, id: &str, server: Uuid) {
    sqlx::query("UPDATE instances SET db_server_id = $2 WHERE id = $1")
        .bind(Uuid::parse_str(id).unwrap())
        .bind(server)
        .execute(&world.pool)
        .await
        .unwrap();
}

/// Instances whose moves go on.
async fn moving(world: &World) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT instance_id::text FROM operations WHERE kind = 'move_database' AND state IN ('queued', 'running') ORDER BY created_at",
    )
    .fetch_all(&world.pool)
    .await
    .unwrap()
}

fn drain_of(pool: Uuid, parallel: u32) -> wire::DrainPoolRequest {
    wire::DrainPoolRequest {
        pool_id: pool.to_string(),
        parallel,
        dedicated: false,
        reason: "a new version of PostgreSQL".into(),
    }
}

/// DBS-33, REL-01: more than any limit of one call, never more at a time than asked for; one that fails is
/// told, left alone for a while and tried again; a suspended one moves too; two replicas begin no more than
/// one.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_pool_is_emptied_some_at_a_time(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let (from, to) = (Uuid::now_v7(), Uuid::now_v7());
    // 20 are the most of one customer.
    let mut ids = tenants(&world, &owner, from, 15).await;
    ids.extend(tenants(&world, &world.customer(), from, 10).await);
    let elsewhere = world.running(&world.customer(), "elsewhere").await.id;
    put(&world, &elsewhere, to).await;
    let suspended = ids[0].clone();
    let wish = wire::ActOnInstanceRequest {
        reason: Some("abuse reported".into()),
        ..crate::support::wish(&suspended, "suspend")
    };
    world.try_act(&admin, wish).await.unwrap();
    world.finish(&suspended).await;

    let begun = world.admin_client().drain_pool(admin.ask(drain_of(from, 4))).await.unwrap().into_inner();
    let seen = begun.drain.unwrap();
    assert_eq!((seen.state.as_str(), seen.moving, seen.remaining, seen.parallel), ("open", 4, 25, 4));
    let again = world.admin_client().drain_pool(admin.ask(drain_of(from, 9))).await.unwrap().into_inner();
    assert_eq!(again.drain.unwrap().id, seen.id, "a repeat finds it");

    let (mut failed, mut rounds) = (None, 0);
    loop {
        let both = tokio::join!(drain::round(&world.app), drain::round(&world.app));
        if !(both.0.unwrap() && both.1.unwrap()) {
            break;
        }
        let going = moving(&world).await;
        assert!(going.len() <= 4 && !going.contains(&elsewhere), "{going:?}");
        if going.is_empty() {
            let (left, told) = drain::see(&world.app, from).await.unwrap();
            if left.state == "open" {
                let failed: &String = failed.as_ref().expect("one that failed is all that is left");
                assert_eq!((told.remaining, told.failed.len()), (1, 1));
                assert_eq!(told.failed[0].0.to_string(), *failed);
                let rested = "UPDATE operations SET finished_at = finished_at - interval '11 minutes'
                              WHERE instance_id = $1 AND state = 'failed'";
                world.sql(rested, failed).await;
            }
        }
        for id in going {
            if failed.is_none() && rounds == 2 {
                failed = Some(id.clone());
                world.fail(&id).await;
            } else {
                put(&world, &id, to).await;
                world.finish(&id).await;
            }
        }
        rounds += 1;
        assert!(rounds < 40, "it does not end");
    }

    let request = wire::GetDrainRequest { pool_id: from.to_string() };
    let done = world.admin_client().get_drain(admin.ask(request)).await.unwrap().into_inner().drain.unwrap();
    assert_eq!((done.state.as_str(), done.moved, done.remaining, done.moving), ("done", 25, 0, 0));
    assert_eq!(world.get(&admin, &suspended).await.status, "suspended");
    let reason: String = sqlx::query_scalar("SELECT reason FROM audit_log WHERE action = 'drain_pool'")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(reason, "a new version of PostgreSQL");
}

/// DBS-33: a stop begins no more; a tenant of a dedicated server gets another one of its own; services ask in
/// their own name; bad wishes are refused.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_drain_can_be_stopped_and_keeps_dedicated_tenants_dedicated(pool: PgPool) {
    let world = World::start(pool).await;
    let (owner, admin) = (world.customer(), world.person(Role::Admin));
    let from = Uuid::now_v7();
    tenants(&world, &owner, from, 3).await;
    let too_many = world.admin_client().drain_pool(admin.ask(drain_of(from, 51))).await;
    assert_eq!(refused(too_many).0, Code::InvalidArgument);
    let request = wire::GetDrainRequest { pool_id: from.to_string() };
    assert_eq!(refused(world.admin_client().get_drain(admin.ask(request)).await).0, Code::NotFound);
    assert_eq!(
        refused(world.admin_client().drain_pool(owner.ask(drain_of(from, 1))).await).0,
        Code::PermissionDenied
    );

    let wish = wire::DrainPoolRequest { dedicated: true, ..drain_of(from, 1) };
    world.admin_client().drain_pool(world.service(AUTOMATION).ask(wish)).await.unwrap();
    let (parameters, by): (serde_json::Value, String) =
        sqlx::query_as("SELECT parameters, requested_by FROM operations WHERE kind = 'move_database'")
            .fetch_one(&world.pool)
            .await
            .unwrap();
    assert_eq!((&parameters["dedicated"], by.as_str()), (&serde_json::json!(true), AUTOMATION));

    let stop = wire::StopDrainRequest { pool_id: from.to_string(), reason: "not tonight".into() };
    let stopped = world.admin_client().stop_drain(admin.ask(stop)).await.unwrap().into_inner().drain.unwrap();
    assert_eq!((stopped.state.as_str(), stopped.moving, stopped.remaining), ("stopped", 1, 3));
    world.finish(&moving(&world).await[0]).await;
    assert!(!drain::round(&world.app).await.unwrap());
    assert!(moving(&world).await.is_empty(), "no more begin");
}
