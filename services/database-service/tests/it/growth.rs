//! Capacity under races, growth, and who leads the background work.

use std::collections::HashSet;
use std::time::Duration;

use contracts::events::PoolFact;
use sqlx::PgPool;

use crate::world::{World, settings};

/// DBS-22, DBS-23, DBS-25: 60 at once on a pool of 50: 50 there, 10 on the next, never 51; the counter is
/// what the rows say.
#[sqlx::test(migrations = "./migrations")]
async fn sixty_at_once_fill_a_pool_of_fifty_and_the_rest_waits_for_the_next(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;

    let names: Vec<String> = (0..60).map(|number| format!("instance-{number}")).collect();
    let calls = names.iter().map(|name| retry(&world, name));
    let statuses = futures::future::join_all(calls).await;

    let allocated = statuses.iter().filter(|status| *status == "allocated").count();
    assert_eq!((allocated, statuses.len()), (50, 60));
    let known = world.statuses().await;
    assert_eq!(
        known,
        [("postgres-pool-1".into(), "full".into(), 50), ("postgres-pool-2".into(), "provisioning".into(), 0)],
        "one pool was ordered before the need, and it is enough for those who wait"
    );
    let mut admin = server.admin().await;
    let made: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert_eq!(made, 50);

    let second = world.specs().await.pop().unwrap();
    let _second = world.bring_up(&second).await;
    let statuses = futures::future::join_all(names.iter().map(|name| retry(&world, name))).await;
    assert!(statuses.iter().all(|status| status == "allocated"), "{statuses:?}");
    assert_eq!(world.statuses().await[1], ("postgres-pool-2".into(), "active".into(), 10));
    let derived: bool = sqlx::query_scalar(
        "SELECT bool_and(current_instances = (SELECT count(*) FROM allocations a WHERE a.db_server_id = s.id AND state <> 'purged'))
         FROM db_servers s",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(derived);
    let waiting: i64 = sqlx::query_scalar("SELECT count(*) FROM waiting").fetch_one(&pool).await.unwrap();
    assert_eq!(waiting, 0);
}

/// As the worker does: an unavailable service is asked again.
async fn retry(world: &World, instance: &str) -> String {
    test_kit::eventually(instance, Duration::from_mins(1), || async {
        match world.allocate(instance, "customer-1", "starter").await {
            Ok(answer) => Some(answer.status),
            Err(status)
                if matches!(
                    status.code(),
                    tonic::Code::Unavailable | tonic::Code::Cancelled | tonic::Code::DeadlineExceeded
                ) =>
            {
                None
            }
            Err(status) => panic!("{status:?}"),
        }
    })
    .await
}

/// DBS-24: 100 waiting requests lead to one pool, then to a second when the first is spoken for, and to no
/// third.
#[sqlx::test(migrations = "./migrations")]
async fn a_hundred_waiting_requests_order_just_enough_pools(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let ask = async |from: i32, to: i32| {
        let names: Vec<String> = (from..to).map(|number| format!("instance-{number}")).collect();
        for answer in
            futures::future::join_all(names.iter().map(|name| world.allocate(name, "c", "standard"))).await
        {
            assert_eq!(answer.unwrap().status, "provisioning");
        }
    };

    ask(0, 50).await;
    ask(0, 50).await;
    assert_eq!(world.specs().await.len(), 1, "asking again orders nothing");
    ask(50, 100).await;

    let names: Vec<String> = world.specs().await.into_iter().map(|spec| spec.name).collect();
    assert_eq!(names, ["postgres-pool-1", "postgres-pool-2"]);
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM db_servers WHERE NOT booked_out")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(open, 1, "one pool in the making with room to promise");
    let double = sqlx::query(
        "INSERT INTO db_servers (id, name, server_type, status, max_instances, image, cpu_request, cpu_limit, memory_request, memory_limit, storage_size)
         VALUES (gen_random_uuid(), 'x', 'shared', 'provisioning', 50, '', '', '', '', '', '')",
    )
    .execute(&pool)
    .await;
    assert!(double.unwrap_err().to_string().contains("db_servers_one_in_the_making"));
}

/// DBS-25: fill to 46 of 50.
#[sqlx::test(migrations = "./migrations")]
async fn a_pool_is_ordered_before_the_last_slots_are_gone(pool: PgPool) {
    let world = World::still(&pool, settings(8)).await;
    let (_spec, _server) = world.first_pool().await;
    for number in 0..3 {
        world.allocate(&format!("i{number}"), "c", "starter").await.unwrap();
    }
    assert_eq!(world.specs().await.len(), 1, "five slots are free");

    world.allocate("i3", "c", "starter").await.unwrap();

    assert_eq!(world.specs().await.len(), 2);
}

/// DBS-22: the lowest priority value first, then the least filled; manual and unhealthy pools are left out.
#[sqlx::test(migrations = "./migrations")]
async fn selection_follows_priority_and_fill(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    sqlx::query(
        "INSERT INTO db_servers (id, name, server_type, status, health_status, max_instances, priority, allocation_strategy,
             image, cpu_request, cpu_limit, memory_request, memory_limit, storage_size)
         SELECT gen_random_uuid(), name, 'shared', status, health, 10, priority, strategy, '', '', '', '', '', ''
         FROM (VALUES ('later', 'active', 'healthy', 200, 'automatic'), ('first', 'active', 'healthy', 50, 'automatic'),
             ('second', 'active', 'healthy', 50, 'automatic'), ('by-hand', 'active', 'healthy', 1, 'manual'),
             ('sick', 'active', 'unhealthy', 1, 'automatic'), ('stumbling', 'active', 'degraded', 1, 'automatic'),
             ('resting', 'maintenance', 'healthy', 1, 'automatic')) AS v (name, status, health, priority, strategy)",
    )
    .execute(&pool)
    .await
    .unwrap();
    let mut chosen = Vec::new();
    for number in 0..3 {
        let wanted =
            database_service::app::allocate::Wanted::parse(&format!("i{number}"), "c", "starter", false)
                .unwrap();
        world.app.take_slot(&wanted).await.unwrap();
        let name: String = sqlx::query_scalar(
            "SELECT name FROM db_servers JOIN allocations ON db_server_id = db_servers.id WHERE allocations.instance_id = $1",
        )
        .bind(format!("i{number}"))
        .fetch_one(&pool)
        .await
        .unwrap();
        chosen.push(name);
    }

    let both: HashSet<&str> = chosen[..2].iter().map(String::as_str).collect();
    assert_eq!(both, HashSet::from(["first", "second"]), "the emptier of the two each time");
    assert!(both.contains(chosen[2].as_str()));
}

/// DBS-36, REL-02: each change of a server is announced in its transaction, versions grow, and no event names
/// a secret.
#[sqlx::test(migrations = "./migrations")]
async fn every_change_of_a_server_is_announced(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, server) = world.first_pool().await;
    world.allocate("i", "c", "starter").await.unwrap();
    let before: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&pool).await.unwrap();

    // The same report again is no news.
    world.report(&spec.id, "ready", Some(&server)).await;

    let rows: Vec<(String, serde_json::Value)> =
        sqlx::query_as("SELECT topic, payload FROM outbox ORDER BY id").fetch_all(&pool).await.unwrap();
    assert_eq!(i64::try_from(rows.len()).unwrap(), before);
    let requested =
        rows.iter().filter(|(topic, _)| topic == contracts::events::topics::POOL_REQUESTED).count();
    assert_eq!(requested, 1);
    let facts: Vec<PoolFact> = rows
        .into_iter()
        .filter(|(topic, _)| topic == contracts::events::topics::POOL_CHANGED)
        .map(|(_, payload)| serde_json::from_value(payload).unwrap())
        .collect();
    assert!(facts.windows(2).all(|pair| pair[0].version < pair[1].version));
    let last = facts.last().unwrap();
    assert_eq!(
        (last.status.as_str(), last.current_instances, last.host.as_str()),
        ("active", 1, "127.0.0.1")
    );
    let row: i64 = sqlx::query_scalar("SELECT version FROM db_servers").fetch_one(&pool).await.unwrap();
    assert_eq!(last.version, row);
}

/// Design 4.5: two replicas, one leader; the other takes over when the leader's session is lost, and pools
/// still become active.
#[sqlx::test(migrations = "./migrations")]
async fn another_replica_takes_the_background_work_over(pool: PgPool) {
    let world = World::alive(&pool, settings(50)).await;
    let _second = World::alive(&pool, settings(50)).await;
    let leaders = async || -> Vec<i32> {
        sqlx::query_scalar("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND classid = $1::int8::oid AND objid = $2::int8::oid AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
            .bind(0x5341_4153_i64)
            .bind(0x4442_5f31_i64)
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    let first =
        test_kit::eventually("a leader", Duration::from_secs(10), || async { leaders().await.pop() }).await;

    sqlx::query("SELECT pg_terminate_backend($1)").bind(first).execute(&pool).await.unwrap();

    test_kit::eventually("another leader", Duration::from_secs(20), || async {
        leaders().await.pop().filter(|pid| *pid != first)
    })
    .await;
    world.allocate("i", "c", "starter").await.unwrap();
    let spec = world.specs().await.pop().unwrap();
    let server = world.build(&spec).await;
    world.report(&spec.id, "ready", Some(&server)).await;
    test_kit::eventually("the pool is active", Duration::from_secs(20), || async {
        (world.statuses().await[0].1 == "active").then_some(())
    })
    .await;
}

/// DBS-24: a pool that does not come up is given up; no endless row of pools follows; it still recovers under
/// its own name (DBS-26).
#[sqlx::test(migrations = "./migrations")]
async fn a_pool_that_does_not_come_up_is_given_up_and_may_recover(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    world.allocate("i", "c", "starter").await.unwrap();
    let spec = world.specs().await.pop().unwrap();
    world.report(&spec.id, "failed", None).await;
    sqlx::query("UPDATE db_servers SET created_at = now() - interval '1 hour'").execute(&pool).await.unwrap();

    world.app.sweep().await.unwrap();
    world.allocate("i", "c", "starter").await.unwrap();

    assert_eq!(world.statuses().await, [("postgres-pool-1".into(), "error".into(), 0)]);
    let _server = world.bring_up(&world.specs().await[0]).await;
    assert_eq!(world.allocate("i", "c", "starter").await.unwrap().status, "allocated");
    assert_eq!(world.statuses().await[0], ("postgres-pool-1".into(), "active".into(), 1));
}
