//! Allocating: the main path, repeats, other customers, crashes between the steps.

use std::time::Duration;

use contracts::database::v1::GetCredentialsRequest;
use database_service::app::allocate::{Taken, Wanted};
use runtime::grpc::Refusal;
use sqlx::PgPool;
use tonic::Code;

use crate::world::{World, settings};

fn wanted(instance: &str) -> Wanted {
    Wanted::parse(instance, "customer-1", "starter", false).unwrap()
}

/// DBS-07, DBS-24, DBS-26, DBS-28, DBS-19: the first instance finds no pool; `postgres-pool-1` is ordered,
/// built, checked, and serves.
#[sqlx::test(migrations = "./migrations")]
async fn the_first_instance_gets_a_pool_and_a_database_of_its_own(pool: PgPool) {
    let world = World::alive(&pool, settings(50)).await;

    let first = world.allocate("instance-1", "customer-1", "starter").await.unwrap();
    assert_eq!((first.status.as_str(), first.retry_after_seconds), ("provisioning", 30));
    let spec = world.specs().await.pop().unwrap();
    assert_eq!(
        (spec.name.as_str(), spec.desired.as_str(), spec.status.as_str()),
        ("postgres-pool-1", "present", "provisioning")
    );
    let server = world.build(&spec).await;
    assert_eq!(world.report(&spec.id, "applied", None).await, "initializing");
    assert_eq!(
        world.report(&spec.id, "ready", Some(&server)).await,
        "initializing",
        "a report alone activates nothing"
    );
    let done = test_kit::eventually("the allocation", Duration::from_secs(20), || async {
        let response = world.allocate("instance-1", "customer-1", "starter").await.unwrap();
        response.allocation
    })
    .await;

    assert_eq!((done.state.as_str(), done.db_type.as_str()), ("allocated", "shared"));
    assert_eq!((done.db_host.as_str(), done.db_port), ("127.0.0.1", u32::from(server.port())));
    assert!(done.db_name.starts_with("odoo_customer1_"), "{}", done.db_name);
    let request = GetCredentialsRequest { instance_id: "instance-1".into() };
    let password = world.allocations().get_credentials(request).await.unwrap().into_inner().password;
    assert_eq!(password.len(), 32);
    let mut tenant = server.try_connect(&done.db_user, &password, &done.db_name).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (x text); INSERT INTO t VALUES (unaccent('é'))")
        .execute(&mut tenant)
        .await
        .unwrap();
    let read: String = sqlx::query_scalar("SELECT x FROM t").fetch_one(&mut tenant).await.unwrap();
    assert_eq!(read, "e");
    assert!(!server.log().contains(&password), "SEC-04: no password in the server's log");
    let row: (String, String, String, i32) =
        sqlx::query_as("SELECT status, health_status, admin_user, health_check_failures FROM db_servers")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(row, ("active".into(), "healthy".into(), "pool_admin".into(), 0));
    let version: String =
        sqlx::query_scalar("SELECT postgres_version FROM db_servers").fetch_one(&pool).await.unwrap();
    assert!(version.starts_with(char::is_numeric), "{version}");
}

/// DBS-08
#[sqlx::test(migrations = "./migrations")]
async fn a_repeat_gets_the_same_allocation_and_counts_once(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, _server) = world.first_pool().await;

    let calls = (0..6).map(|_| world.allocate("instance-1", "customer-1", "starter"));
    let answers = futures::future::join_all(calls).await;

    let ids: std::collections::HashSet<String> =
        answers.into_iter().map(|answer| answer.unwrap().allocation.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.statuses().await, [("postgres-pool-1".into(), "active".into(), 1)]);
}

/// DBS-08
#[sqlx::test(migrations = "./migrations")]
async fn an_instance_of_another_customer_is_refused(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    world.allocate("waiting", "customer-1", "starter").await.unwrap();
    let (_spec, _server) = {
        let spec = world.specs().await.pop().unwrap();
        let server = world.bring_up(&spec).await;
        (spec, server)
    };
    world.allocate("there", "customer-1", "starter").await.unwrap();

    for instance in ["there", "waiting"] {
        // The waiting one would get a slot now: it belongs to its customer all the same once it has one.
        world.allocate(instance, "customer-1", "starter").await.unwrap();
        let refused = world.allocate(instance, "customer-2", "starter").await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert_eq!(Refusal::from_status(&refused).reason, "allocated_to_other_customer");
    }
}

/// DBS-07, DBS-34
#[sqlx::test(migrations = "./migrations")]
async fn bad_requests_are_refused_with_their_reason(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    for (instance, customer, tier, reason, field) in [
        ("a b", "c", "starter", "validation_failed", "instance_id"),
        ("a", "x'; DROP ROLE y; --", "starter", "validation_failed", "customer_id"),
        ("a", "c", "gold", "plan_tier_unknown", "plan_tier"),
    ] {
        let refusal = Refusal::from_status(&world.allocate(instance, customer, tier).await.unwrap_err());
        assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, reason));
        assert_eq!(refusal.fields[0].field, field);
    }
    assert!(world.specs().await.is_empty(), "nothing was ordered");
}

/// DBS-34, DBS-26: premium gets a server of its own, under a number of its own.
#[sqlx::test(migrations = "./migrations")]
async fn a_premium_plan_gets_its_own_server(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    world.allocate("starter", "customer-1", "starter").await.unwrap();
    for _ in 0..3 {
        let answer = world.allocate("premium", "customer-1", "premium").await.unwrap();
        assert_eq!(answer.status, "provisioning");
    }

    let specs = world.specs().await;
    let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["postgres-pool-1", "postgres-dedicated-1"]);
    assert_eq!(specs[1].instance_id.as_deref(), Some("premium"));
    let server = world.build(&specs[1]).await;
    world.report(&specs[1].id, "applied", None).await;
    world.report(&specs[1].id, "ready", Some(&server)).await;
    world.app.check(uuid::Uuid::parse_str(&specs[1].id).unwrap()).await.unwrap();
    let done = world.allocate("premium", "customer-1", "premium").await.unwrap().allocation.unwrap();

    assert_eq!((done.db_type.as_str(), done.db_server_name.as_str()), ("dedicated", "postgres-dedicated-1"));
    assert_eq!(world.statuses().await[1], ("postgres-dedicated-1".into(), "full".into(), 1));
}

/// DBS-08, DBS-32: a crash after the slot, after the role, after the database: the next call or the sweep
/// ends it with the stored password.
#[sqlx::test(migrations = "./migrations")]
async fn a_crash_between_the_steps_is_finished_by_the_next_try(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;

    // After the first transaction.
    let Taken::Slot(slot) = world.app.take_slot(&wanted("after-slot")).await.unwrap() else {
        panic!("no slot")
    };
    let done = world.allocate("after-slot", "customer-1", "starter").await.unwrap().allocation.unwrap();
    assert_eq!(done.id, slot.to_string());

    // After role and database, before the second transaction; twice.
    let Taken::Slot(made) = world.app.take_slot(&wanted("after-database")).await.unwrap() else {
        panic!("no slot")
    };
    let mut conn = pool.acquire().await.unwrap();
    let allocation = database_service::store::allocations::find(&mut conn, made).await.unwrap().unwrap();
    world.app.prepare(&allocation).await.unwrap();
    world.app.prepare(&allocation).await.unwrap();
    let done = world.allocate("after-database", "customer-1", "starter").await.unwrap().allocation.unwrap();
    assert_eq!(done.state, "allocated");

    // After the role alone, and nobody asks again: the sweep finds it.
    let Taken::Slot(role) = world.app.take_slot(&wanted("after-role")).await.unwrap() else {
        panic!("no slot")
    };
    let allocation = database_service::store::allocations::find(&mut conn, role).await.unwrap().unwrap();
    world.app.prepare(&allocation).await.unwrap();
    let mut admin = server.admin().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("DROP DATABASE {}", allocation.db_name)))
        .execute(&mut admin)
        .await
        .unwrap();
    sqlx::query("UPDATE allocations SET updated_at = now() - interval '5 minutes' WHERE id = $1")
        .bind(role)
        .execute(&pool)
        .await
        .unwrap();
    world.app.sweep().await.unwrap();

    for instance in ["after-slot", "after-database", "after-role"] {
        let request = GetCredentialsRequest { instance_id: instance.into() };
        let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
        let allocation = found.allocation.unwrap();
        server.try_connect(&allocation.db_user, &found.password, &allocation.db_name).await.unwrap();
    }
    assert_eq!(world.statuses().await, [("postgres-pool-1".into(), "active".into(), 3)]);
}

/// DBS-30: a database or role of our name without our row is left alone, and the slot is given back.
#[sqlx::test(migrations = "./migrations")]
async fn a_foreign_database_of_the_same_name_is_an_error(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    let name = database_service::domain::names::TenantName::new(&wanted("x").customer, &wanted("x").instance);
    let mut admin = server.admin().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {}", name.as_str())))
        .execute(&mut admin)
        .await
        .unwrap();

    let refused = world.allocate("x", "customer-1", "starter").await.unwrap_err();

    assert_eq!(Refusal::from_status(&refused).reason, "database_name_taken");
    assert_eq!(world.statuses().await, [("postgres-pool-1".into(), "active".into(), 0)]);
    let owner: String =
        sqlx::query_scalar("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1")
            .bind(name.as_str())
            .fetch_one(&mut admin)
            .await
            .unwrap();
    assert_eq!(owner, "pool_admin");
}

/// DBS-17, DBS-22, REL-06: a pool that is away fails clearly, takes no new tenant, and serves again after it
/// came back.
#[sqlx::test(migrations = "./migrations")]
async fn a_pool_that_is_away_takes_nobody_and_recovers(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, mut server) = world.first_pool().await;
    let id = uuid::Uuid::parse_str(&spec.id).unwrap();
    server.stop();

    let failed = world.allocate("unlucky", "customer-1", "starter").await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable);
    let healths = [1, 2, 3].map(|_| world.app.check(id));
    let mut seen = Vec::new();
    for check in healths {
        seen.push(check.await.unwrap().health.to_string());
    }
    assert_eq!(seen, ["degraded", "degraded", "unhealthy"]);
    assert_eq!(world.allocate("later", "customer-1", "starter").await.unwrap().status, "provisioning");

    server.resume().await;
    let checked = world.app.check(id).await.unwrap();
    assert_eq!((checked.health.as_str(), checked.failures), ("healthy", 0));
    for instance in ["unlucky", "later"] {
        assert_eq!(world.allocate(instance, "customer-1", "starter").await.unwrap().status, "allocated");
    }
}

/// DBS-17, DBS-22: a pool that failed a check while its pod counts as ready, as after a restart of
/// everything, serves again as soon as it answers and not with the next round of five minutes.
#[sqlx::test(migrations = "./migrations")]
async fn a_pool_that_stumbled_serves_again_before_the_next_round(pool: PgPool) {
    let world = World::alive(&pool, settings(50)).await;
    let (spec, mut server) = world.first_pool().await;
    let id = uuid::Uuid::parse_str(&spec.id).unwrap();
    server.stop();
    let stumbled = world.app.check(id).await.unwrap();
    assert_eq!((stumbled.health.as_str(), stumbled.failures), ("degraded", 1));
    assert_eq!(world.allocate("early", "customer-1", "starter").await.unwrap().status, "provisioning");

    server.resume().await;

    test_kit::eventually("the allocation", Duration::from_mins(1), || async {
        let answer = world.allocate("early", "customer-1", "starter").await.unwrap();
        (answer.status == "allocated").then_some(())
    })
    .await;
    let statuses = world.statuses().await;
    assert_eq!(statuses, [("postgres-pool-1".into(), "active".into(), 1)]);
}

/// DBS-30: databases are copied from a template that nobody can connect to; without it they are made as
/// before.
#[sqlx::test(migrations = "./migrations")]
async fn a_server_without_the_template_serves_too(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    let mut admin = server.admin().await;
    assert!(server.try_connect("pool_admin", "x", "platform_template").await.is_err());
    let (closed, template): (bool, bool) = sqlx::query_as(
        "SELECT NOT datallowconn, datistemplate FROM pg_database WHERE datname = 'platform_template'",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert!(closed && template);
    world.allocate("copied", "c", "starter").await.unwrap();
    sqlx::raw_sql("ALTER DATABASE platform_template IS_TEMPLATE false").execute(&mut admin).await.unwrap();
    world.allocate("made", "c", "starter").await.unwrap();

    for instance in ["copied", "made"] {
        let request = GetCredentialsRequest { instance_id: instance.into() };
        let found = world.allocations().get_credentials(request).await.unwrap().into_inner();
        let allocation = found.allocation.unwrap();
        let mut tenant =
            server.try_connect(&allocation.db_user, &found.password, &allocation.db_name).await.unwrap();
        let text: String = sqlx::query_scalar("SELECT unaccent('é')").fetch_one(&mut tenant).await.unwrap();
        assert_eq!(text, "e", "{instance}");
        sqlx::raw_sql("CREATE TABLE t (x int)").execute(&mut tenant).await.unwrap();
    }
}
