//! Giving databases up, and taking them back.

use contracts::database::v1::{
    AllocateResponse, GetCredentialsRequest, ReclaimRequest, ReclaimResponse, ReleaseRequest, ReleaseResponse,
};
use runtime::grpc::Refusal;
use sqlx::PgPool;
use tonic::{Code, Status};

use crate::pool_server::PoolServer;
use crate::world::{World, settings};

async fn release(world: &World, instance: &str, mode: &str) -> Result<ReleaseResponse, Status> {
    let request = ReleaseRequest { instance_id: instance.into(), mode: mode.into(), reason: "test".into() };
    Ok(world.allocations().release(request).await?.into_inner())
}

async fn reclaim(world: &World, instance: &str) -> Result<ReclaimResponse, Status> {
    Ok(world.allocations().reclaim(ReclaimRequest { instance_id: instance.into() }).await?.into_inner())
}

async fn names(server: &PoolServer) -> (i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'), (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odoo\\_%')",
    )
    .fetch_one(&mut server.admin().await)
    .await
    .unwrap()
}

async fn allocate(world: &World, instance: &str) -> AllocateResponse {
    world.allocate(instance, "c", "starter").await.unwrap()
}

/// DBS-11: soft keeps everything until the end of the retention, and can be taken back.
#[sqlx::test(migrations = "./migrations")]
async fn a_soft_release_keeps_the_database_and_can_be_reclaimed(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    let before = allocate(&world, "i").await.allocation.unwrap();

    let first = release(&world, "i", "soft").await.unwrap();
    let second = release(&world, "i", "soft").await.unwrap();

    assert_eq!(
        (first.status.as_str(), &first),
        ("released", &second),
        "a repeat does not prolong the retention"
    );
    let left = first.purge_after.unwrap().seconds - runtime::clock::now().unix_timestamp();
    assert!((29 * 86_400..=30 * 86_400).contains(&left));
    assert_eq!(names(&server).await, (1, 1));
    assert_eq!(world.statuses().await[0].2, 1, "the slot is still taken");
    let refused = world.allocate("i", "c", "starter").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let after = reclaim(&world, "i").await.unwrap().allocation.unwrap();
    assert_eq!(after, before);
    assert_eq!(reclaim(&world, "i").await.unwrap().allocation.unwrap(), before, "twice");
}

/// DBS-11, DBS-23: purge ends sessions, drops database and role, gives the slot back; twice changes nothing.
#[sqlx::test(migrations = "./migrations")]
async fn a_purge_leaves_nothing_and_may_be_repeated(pool: PgPool) {
    let world = World::still(&pool, settings(1)).await;
    let (_spec, server) = world.first_pool().await;
    let done = allocate(&world, "i").await.allocation.unwrap();
    let request = GetCredentialsRequest { instance_id: "i".into() };
    let password = world.allocations().get_credentials(request.clone()).await.unwrap().into_inner().password;
    let mut session = server.try_connect(&done.db_user, &password, &done.db_name).await.unwrap();
    let mut elsewhere = server.try_connect(&done.db_user, &password, "postgres").await.unwrap();
    assert_eq!(world.statuses().await[0], ("postgres-pool-1".into(), "full".into(), 1));

    assert_eq!(release(&world, "i", "purge").await.unwrap().status, "purged");
    assert_eq!(release(&world, "i", "purge").await.unwrap().status, "purged");

    assert_eq!(names(&server).await, (0, 0));
    assert_eq!(world.statuses().await[0], ("postgres-pool-1".into(), "active".into(), 0));
    assert!(sqlx::query("SELECT 1").execute(&mut session).await.is_err());
    assert!(sqlx::query("SELECT 1").execute(&mut elsewhere).await.is_err());
    let secrets: i64 =
        sqlx::query_scalar("SELECT count(*) FROM allocation_secrets").fetch_one(&pool).await.unwrap();
    assert_eq!(secrets, 0);
    let refused = world.allocations().get_credentials(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(Refusal::from_status(&reclaim(&world, "i").await.unwrap_err()).reason, "invalid_state");
    assert_eq!(release(&world, "nobody", "purge").await.unwrap().status, "absent", "unknown is a success");

    let again = allocate(&world, "i").await.allocation.unwrap();
    assert_ne!(again.id, done.id);
    assert_eq!(names(&server).await, (1, 1));
}

/// DBS-11: the pool is away during a purge: it says so, there is no way back, and the sweep ends it later.
#[sqlx::test(migrations = "./migrations")]
async fn a_purge_that_was_interrupted_is_finished_by_the_sweep(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, mut server) = world.first_pool().await;
    allocate(&world, "i").await;
    server.stop();

    assert_eq!(release(&world, "i", "purge").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(Refusal::from_status(&reclaim(&world, "i").await.unwrap_err()).reason, "invalid_state");
    server.resume().await;
    sqlx::query("UPDATE allocations SET updated_at = now() - interval '5 minutes'")
        .execute(&pool)
        .await
        .unwrap();
    world.app.sweep().await.unwrap();

    assert_eq!(names(&server).await, (0, 0));
    assert_eq!(world.statuses().await[0].2, 0);
}

/// DBS-16: a dedicated server goes with its tenant; its name is not used again.
#[sqlx::test(migrations = "./migrations")]
async fn a_dedicated_server_goes_with_its_tenant(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    world.allocate("big", "c", "enterprise").await.unwrap();
    let spec = world.specs().await.pop().unwrap();
    let server = world.bring_up(&spec).await;
    world.allocate("big", "c", "enterprise").await.unwrap();
    assert_eq!(names(&server).await, (1, 1));

    release(&world, "big", "purge").await.unwrap();

    assert_eq!(world.specs().await[0].desired, "absent");
    assert_eq!(world.report(&spec.id, "removed", None).await, "deprovisioned");
    assert!(world.specs().await.is_empty());
    world.allocate("big", "c", "enterprise").await.unwrap();
    assert_eq!(world.specs().await[0].name, "postgres-dedicated-2");
}
