//! A pool whose volume is full, for real (DBS-18, DBS-22): a small file system in memory, and a file that
//! takes what is left of it.

use std::time::Duration;

use runtime::grpc::Refusal;
use sqlx::PgPool;
use test_kit::eventually;
use tonic::Code;
use uuid::Uuid;

use crate::pool_server::PoolServer;
use crate::world::{World, settings};

const SOON: Duration = Duration::from_mins(1);

/// DBS-08, DBS-22, DBS-23: the allocation fails and says why, nothing of it stays, the tenants that are there
/// go on, the next one gets its database elsewhere, and with space again the pool serves again.
#[sqlx::test(migrations = "./migrations")]
async fn a_full_volume_fails_the_allocation_alone_and_the_next_goes_elsewhere(pool: PgPool) {
    let world = World::alive(&pool, settings(50)).await;
    assert_eq!(world.allocate("there", "c", "starter").await.unwrap().status, "provisioning");
    let spec = world.specs().await.pop().unwrap();
    let (password, tls) = world.pool_secret(&spec).await;
    let config = [spec.config.as_str(), "\nmin_wal_size = 32MB\nmax_wal_size = 64MB\n"].concat();
    let Some(small) = PoolServer::start_on_volume(160, &password, &config, &tls).await else {
        eprintln!("not tried: a file system in memory needs the rights of root");
        return;
    };
    world.report(&spec.id, "applied", None).await;
    world.report(&spec.id, "ready", Some(&small)).await;
    let id = Uuid::parse_str(&spec.id).unwrap();
    eventually("the pool serves", SOON, || async { (world.statuses().await[0].1 == "active").then_some(()) })
        .await;
    assert_eq!(world.allocate("there", "c", "starter").await.unwrap().status, "allocated");
    let request = contracts::database::v1::GetCredentialsRequest { instance_id: "there".into() };
    let access = world.allocations().get_credentials(request).await.unwrap().into_inner();
    let allocation = access.allocation.unwrap();
    let mut tenant =
        small.try_connect(&allocation.db_user, &access.password, &allocation.db_name).await.unwrap();
    sqlx::raw_sql("CREATE TABLE orders (id int PRIMARY KEY, done boolean); INSERT INTO orders SELECT n, false FROM generate_series(1, 100) n")
        .execute(&mut tenant)
        .await
        .unwrap();
    // The log gets a fresh piece of its own, as a busy server has it.
    sqlx::raw_sql("SELECT pg_switch_wal(); CHECKPOINT;").execute(&mut small.admin().await).await.unwrap();

    let ballast = small.fill_volume(1024);

    let refused = world.allocate("new", "c", "starter").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert_eq!(Refusal::from_status(&refused).reason, "pool_volume_full");
    let left: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'), (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odoo\\_%')",
    )
    .fetch_one(&mut small.admin().await)
    .await
    .unwrap();
    assert_eq!(left, (1, 1), "nothing of the failed one is there");
    assert_eq!(world.statuses().await[0].2, 1, "and it holds no slot");
    let done =
        sqlx::query("UPDATE orders SET done = true WHERE id <= 10").execute(&mut tenant).await.unwrap();
    assert_eq!(done.rows_affected(), 10, "the tenant that is there goes on");
    let checked = world.app.check(id).await.unwrap();
    assert_eq!(checked.health.as_str(), "unhealthy", "{}", checked.last_error);

    assert_eq!(world.allocate("new", "c", "starter").await.unwrap().status, "provisioning");
    let second = world.specs().await.into_iter().find(|other| other.id != spec.id).expect("another pool");
    let roomy = world.build(&second).await;
    world.report(&second.id, "applied", None).await;
    world.report(&second.id, "ready", Some(&roomy)).await;
    let allocated = eventually("a database elsewhere", SOON, || async {
        let answer = world.allocate("new", "c", "starter").await.unwrap();
        answer.allocation.filter(|_| answer.status == "allocated")
    })
    .await;
    assert_eq!(allocated.db_server_name, second.name);

    std::fs::remove_file(ballast).unwrap();
    eventually("the pool is healthy again", SOON, || async {
        (world.app.check(id).await.unwrap().health.as_str() == "healthy").then_some(())
    })
    .await;
}
