//! Many callers at once, servers that die meanwhile, and a service that loses its own database. At the end:
//! rows = databases = counters.

use std::time::Duration;

use contracts::database::v1::allocation_service_client::AllocationServiceClient;
use contracts::database::v1::{AllocateRequest, GetCredentialsRequest};
use contracts::services::WORKER;
use runtime::grpc::Authenticated;
use sqlx::PgPool;
use tonic::Code;

use crate::pool_server::PoolServer;
use crate::world::{World, settings};

/// Long, for a loaded machine: it is a limit, not a wait.
const PATIENCE: Duration = Duration::from_mins(4);

/// As the worker does: asks until the database is there.
async fn get(client: &AllocationServiceClient<Authenticated>, instance: &str) {
    test_kit::eventually(instance, PATIENCE, || async {
        let request = AllocateRequest {
            instance_id: instance.into(),
            customer_id: "customer".into(),
            plan_tier: "starter".into(),
            require_dedicated: None,
        };
        match client.clone().allocate(request).await {
            Ok(answer) => (answer.into_inner().status == "allocated").then_some(()),
            Err(status)
                if matches!(
                    status.code(),
                    Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted
                ) =>
            {
                None
            }
            Err(status) => panic!("{status:?}"),
        }
    })
    .await;
}

/// Builds each pool that is ordered, as the worker does, until dropped.
async fn build_pools(world: &World, servers: &tokio::sync::Mutex<Vec<(String, PoolServer)>>) {
    loop {
        for spec in world.specs().await {
            let mut built = servers.lock().await;
            if !built.iter().any(|(id, _)| *id == spec.id) {
                let server = world.build(&spec).await;
                world.report(&spec.id, "ready", Some(&server)).await;
                built.push((spec.id.clone(), server));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn rows_are_databases(pool: &PgPool, servers: &[(String, PoolServer)]) {
    for (id, server) in servers {
        let id = uuid::Uuid::parse_str(id).unwrap();
        let mut rows: Vec<String> = sqlx::query_scalar(
            "SELECT db_name FROM allocations WHERE db_server_id = $1 AND state <> 'purged'",
        )
        .bind(id)
        .fetch_all(pool)
        .await
        .unwrap();
        let mut found: Vec<String> =
            sqlx::query_scalar("SELECT datname::text FROM pg_database WHERE datname LIKE 'odoo\\_%'")
                .fetch_all(&mut server.admin().await)
                .await
                .unwrap();
        let (current, max): (i32, i32) =
            sqlx::query_as("SELECT current_instances, max_instances FROM db_servers WHERE id = $1")
                .bind(id)
                .fetch_one(pool)
                .await
                .unwrap();
        rows.sort();
        found.sort();
        assert_eq!(rows, found);
        assert_eq!(usize::try_from(current).unwrap(), rows.len());
        assert!(current <= max);
    }
}

/// DBS-22 to DBS-25: 200 at once from 5 clients, and three pools that grow one after the other.
#[sqlx::test(migrations = "./migrations")]
async fn two_hundred_from_five_clients_fill_three_growing_pools(pool: PgPool) {
    let world = World::alive(&pool, settings(70)).await;
    let clients: Vec<_> =
        (0..5).map(|_| AllocationServiceClient::new(world.running.channel_as(WORKER))).collect();
    let names: Vec<String> = (0..200).map(|number| format!("instance-{number}")).collect();
    let servers = tokio::sync::Mutex::new(Vec::new());

    let calls = names.iter().enumerate().map(|(index, name)| get(&clients[index % 5], name));
    tokio::select! {
        _ = futures::future::join_all(calls) => {}
        () = build_pools(&world, &servers) => {}
    }

    let servers = servers.into_inner();
    rows_are_databases(&pool, &servers).await;
    let held: i64 =
        sqlx::query_scalar("SELECT sum(current_instances) FROM db_servers").fetch_one(&pool).await.unwrap();
    assert_eq!(held, 200);
    let pools = world.statuses().await.len();
    assert!((3..=4).contains(&pools), "{pools} pools: three hold 200, one more only for the reserve");
}

/// DBS-17, REL-06: the server dies in the middle of allocations, comes back, and nothing is lost or doubled.
#[sqlx::test(migrations = "./migrations")]
async fn a_server_that_dies_during_allocations_ends_consistent(pool: PgPool) {
    let world = World::alive(&pool, settings(50)).await;
    world.allocate("instance-0", "customer", "starter").await.unwrap();
    let spec = world.specs().await.pop().unwrap();
    let mut server = world.build(&spec).await;
    world.report(&spec.id, "ready", Some(&server)).await;
    let client = world.allocations();
    let names: Vec<String> = (0..40).map(|number| format!("instance-{number}")).collect();
    let done = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM allocations WHERE state = 'allocated'")
            .fetch_one(&pool)
            .await
            .unwrap()
    };

    let storm = futures::future::join_all(names.iter().map(|name| get(&client, name)));
    let death = async {
        test_kit::eventually("some are there", PATIENCE, || async { (done().await >= 8).then_some(()) })
            .await;
        server.stop();
        test_kit::eventually("the death is seen", PATIENCE, || async {
            let error: String = sqlx::query_scalar("SELECT coalesce(max(last_error), '') FROM allocations")
                .fetch_one(&pool)
                .await
                .unwrap();
            let refused =
                world.app.check(uuid::Uuid::parse_str(&spec.id).unwrap()).await.unwrap().failures > 0;
            (refused || !error.is_empty()).then_some(())
        })
        .await;
        server.resume().await;
        // The watch tells that the pod is ready again, or the next round finds it well.
        world.app.health_round().await.unwrap();
    };
    tokio::join!(storm, death);

    assert_eq!(done().await, 40);
    let orphans: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname LIKE 'odoo\\_%'")
        .fetch_one(&mut server.admin().await)
        .await
        .unwrap();
    assert_eq!(orphans, 40);
    rows_are_databases(&pool, &[(spec.id, server)]).await;
}

/// REL-06: the service loses every connection to its own database, again and again, as in a restart of the
/// platform's PostgreSQL.
#[sqlx::test(migrations = "./migrations")]
async fn a_service_that_loses_its_own_database_goes_on(pool: PgPool) {
    let world = World::alive(&pool, settings(50)).await;
    world.allocate("instance-0", "customer", "starter").await.unwrap();
    let spec = world.specs().await.pop().unwrap();
    let server = world.build(&spec).await;
    world.report(&spec.id, "ready", Some(&server)).await;
    let client = world.allocations();
    let names: Vec<String> = (0..20).map(|number| format!("instance-{number}")).collect();

    let storm = futures::future::join_all(names.iter().map(|name| get(&client, name)));
    let cuts = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let _ = sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
                .execute(&pool)
                .await;
        }
    };
    tokio::join!(storm, cuts);

    rows_are_databases(&pool, &[(spec.id, server)]).await;
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM allocations WHERE state = 'allocated'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(held, 20);
}

/// DBS-27: the pool's process vanishes and comes back with its volume: same rows, same data, healthy by
/// itself.
#[sqlx::test(migrations = "./migrations")]
async fn a_server_that_vanishes_comes_back_with_its_data(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, mut server) = world.first_pool().await;
    let made = world.allocate("i", "c", "starter").await.unwrap().allocation.unwrap();
    let request = GetCredentialsRequest { instance_id: "i".into() };
    let password = world.allocations().get_credentials(request).await.unwrap().into_inner().password;
    let mut tenant = server.try_connect(&made.db_user, &password, &made.db_name).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (x int); INSERT INTO kept VALUES (42)")
        .execute(&mut tenant)
        .await
        .unwrap();

    server.stop();
    world.report(&spec.id, "removed", None).await;
    assert_eq!(world.specs().await[0].desired, "present", "a vanished pool is wanted back");
    assert_eq!(world.statuses().await[0].2, 1, "its allocation stays");
    server.resume().await;
    world.report(&spec.id, "ready", Some(&server)).await;
    world.app.health_round().await.unwrap();

    let mut tenant = server.try_connect(&made.db_user, &password, &made.db_name).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT x FROM kept").fetch_one(&mut tenant).await.unwrap();
    assert_eq!(kept, 42);
    assert_eq!(world.allocate("j", "c", "starter").await.unwrap().status, "allocated");
}

/// A measurement, run by name (`--run-ignored only`): 1,000 tenants on 20 pools. The pools are rows that
/// point to two real servers with 50 databases each, ten rows to a server: each row's check is a real one.
#[sqlx::test(migrations = "./migrations")]
#[ignore = "a measurement"]
async fn a_health_round_over_a_thousand_tenants_takes_less_than_five_seconds(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let password = database_service::secrets::generate_password().unwrap();
    let config = "max_connections = 420\n";
    let servers = [PoolServer::start(&password, config).await, PoolServer::start(&password, config).await];
    for server in &servers {
        let mut admin = server.admin().await;
        for number in 0..50 {
            sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE odoo_measured_{number}")))
                .execute(&mut admin)
                .await
                .unwrap();
        }
    }
    let vault = &world.app.vault;
    for number in 0..20 {
        let id = uuid::Uuid::now_v7();
        let sealed = vault.seal(id, &password).unwrap();
        sqlx::query(
            "INSERT INTO db_servers (id, name, server_type, status, health_status, max_instances, image, cpu_request, cpu_limit, memory_request,
                 memory_limit, storage_size, host, platform_host, platform_port, provisioned_at, observed)
             VALUES ($1, $2, 'shared', 'full', 'healthy', 50, '', '', '', '', '', '50Gi', 'h', '127.0.0.1', $3, now(), 'ready')",
        )
        .bind(id)
        .bind(format!("postgres-pool-{number}"))
        .bind(i32::from(servers[number % 2].port()))
        .execute(&pool)
        .await
        .unwrap();
        let mut conn = pool.acquire().await.unwrap();
        database_service::store::secrets::put_server(&mut conn, id, &sealed, "hash").await.unwrap();
        sqlx::query(
            "INSERT INTO allocations (id, instance_id, customer_id, db_server_id, db_name, db_user, plan_tier, state)
             SELECT gen_random_uuid(), $2 || '-' || n, 'c', $1, 'odoo_' || n, 'odoo_' || n, 'starter', 'allocated' FROM generate_series(1, 50) n",
        )
        .bind(id)
        .bind(number.to_string())
        .execute(&mut *conn)
        .await
        .unwrap();
    }
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with("VmRSS")).unwrap().to_owned()
    };
    let before = memory();

    let start = std::time::Instant::now();
    let result = world.app.health_round().await.unwrap();
    let took = start.elapsed();

    assert_eq!(result["healthy"], 20, "{result}");
    let figures = format!("20 pools in {took:?}; before: {before}; after: {}", memory());
    // The figure is the point of this test: nextest shows it with `--no-capture`.
    std::fs::write(std::env::temp_dir().join("health-round.txt"), &figures).unwrap();
    assert!(took < Duration::from_secs(5), "{figures}");
}
