//! A tenants' server that stops in the middle of everything: whoever waits for it holds nothing that others
//! need (REL-06).

use std::time::Duration;

use sqlx::PgPool;
use test_kit::eventually;

use crate::world::{World, settings};

const SOON: Duration = Duration::from_secs(20);

/// Sessions that hold the lock of a tenant.
const HOLDERS: &str = "SELECT DISTINCT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND pid IN (SELECT pid FROM pg_stat_activity WHERE state LIKE 'idle in transaction%')";

async fn holders(pool: &PgPool) -> Vec<i32> {
    sqlx::query_scalar(HOLDERS).fetch_all(pool).await.unwrap()
}

/// Rows and tables that sessions hold which do nothing.
async fn held(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'
             AND locktype NOT IN ('advisory', 'virtualxid')",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[sqlx::test(migrations = "./migrations")]
async fn who_waits_for_a_server_holds_nothing_of_the_platforms_database(pool: PgPool) {
    let world = World::still(&pool, settings(40)).await;
    let (_spec, server) = world.first_pool().await;
    server.pause();
    let waiting = (0..8).map(|number| {
        let (app, instance) = (world.app.clone(), format!("tenant-{number}"));
        let wanted =
            database_service::app::allocate::Wanted::parse(&instance, "c", "starter", false).unwrap();
        tokio::spawn(async move { app.allocate(wanted).await.is_ok() })
    });
    let waiting: Vec<_> = waiting.collect();
    eventually("work at the server", SOON, || async { (holders(&pool).await.len() >= 2).then_some(()) })
        .await;

    // Not those that are about to get there: whoever waits holds nothing.
    eventually("no row and no table is held", SOON, || async { (held(&pool).await == 0).then_some(()) })
        .await;
    assert!(holders(&pool).await.len() >= 2, "nobody waits any more");
    let asked = (0..8)
        .map(|_| async { tokio::time::timeout(Duration::from_secs(5), world.specs()).await.unwrap().len() });
    assert_eq!(futures::future::join_all(asked).await, [1; 8], "others are answered meanwhile");

    server.go_on();
    for one in waiting {
        assert!(one.await.unwrap(), "it goes on where it was");
    }
}

/// The lock of a tenant lives as long as its connection. Whoever lost it writes no end: somebody else may be
/// at work by then.
#[sqlx::test(migrations = "./migrations")]
async fn who_lost_its_lock_on_the_way_writes_no_end(pool: PgPool) {
    let world = World::still(&pool, settings(40)).await;
    let (_spec, server) = world.first_pool().await;
    server.pause();
    let wanted = database_service::app::allocate::Wanted::parse("a", "c", "starter", false).unwrap();
    let app = world.app.clone();
    let work = tokio::spawn(async move { app.allocate(wanted).await });
    let holder = eventually("work at the server", SOON, || async { holders(&pool).await.pop() }).await;
    sqlx::query("SELECT pg_terminate_backend($1, 5000)").bind(holder).execute(&pool).await.unwrap();
    server.go_on();

    assert!(work.await.unwrap().is_err());

    let state: String = sqlx::query_scalar("SELECT state FROM allocations WHERE instance_id = 'a'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(state, "allocating");
    assert_eq!(world.allocate("a", "c", "starter").await.unwrap().status, "allocated");
}
