//! What administrators order, change, see and begin (DBS-02 to DBS-06, DBS-10 to DBS-13, DBS-20, DBS-21).

use contracts::database::v1 as proto;
use runtime::grpc::{Refusal, on_behalf_of};
use runtime::identity::Role;
use serde_json::json;
use sqlx::PgPool;
use tonic::{Code, Request};
use uuid::Uuid;

use crate::world::{World, settings};

fn as_admin<T>(world: &World, message: T) -> Request<T> {
    // One administrator: keys of requests are his own.
    let token = world.running.keys.user_token(Uuid::from_u128(7), Role::Admin);
    on_behalf_of(message, Some(&token), "request-1", None)
}

async fn provision(
    world: &World,
    max: u32,
    key: &str,
) -> Result<proto::ProvisionPoolResponse, tonic::Status> {
    let request = proto::ProvisionPoolRequest {
        max_instances: max,
        server_type: String::new(),
        request_key: key.into(),
    };
    Ok(world.admin().provision_pool(as_admin(world, request)).await?.into_inner())
}

async fn update(world: &World, change: proto::UpdatePoolRequest) -> Result<proto::Pool, tonic::Status> {
    let request = proto::UpdatePoolRequest { reason: "a test".into(), ..change };
    Ok(world.admin().update_pool(as_admin(world, request)).await?.into_inner().pool.unwrap())
}

async fn delete(world: &World, pool: &str) -> Result<proto::Pool, tonic::Status> {
    let request = proto::DeletePoolRequest { pool: pool.into(), reason: "a test".into() };
    Ok(world.admin().delete_pool(as_admin(world, request)).await?.into_inner().pool.unwrap())
}

async fn check(world: &World, pool: &str) -> proto::CheckPoolResponse {
    let request = proto::CheckPoolRequest { pool: pool.into() };
    world.admin().check_pool(as_admin(world, request)).await.unwrap().into_inner()
}

async fn task(world: &World, id: &str) -> proto::DatabaseTask {
    let request = proto::GetDatabaseTaskRequest { task_id: id.into() };
    world.admin().get_database_task(as_admin(world, request)).await.unwrap().into_inner().task.unwrap()
}

fn named(pool: &str) -> proto::UpdatePoolRequest {
    proto::UpdatePoolRequest { pool: pool.into(), ..proto::UpdatePoolRequest::default() }
}

async fn audit(pool: &PgPool) -> Vec<(String, String, String)> {
    sqlx::query_as("SELECT action, target, reason FROM audit_log ORDER BY at, id")
        .fetch_all(pool)
        .await
        .unwrap()
}

/// DBS-02, DBS-03, DBS-24, SEC-17: one pool at a time; a repeat with the same key is the same order; the task
/// ends when the pool serves.
#[sqlx::test(migrations = "./migrations")]
async fn a_pool_is_ordered_once_per_key_and_one_at_a_time(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    for bad in [501, u32::MAX] {
        assert_eq!(
            Refusal::from_status(&provision(&world, bad, "").await.unwrap_err()).fields[0].field,
            "max_instances"
        );
    }

    let first = provision(&world, 20, "key-1").await.unwrap();
    let again = provision(&world, 20, "key-1").await.unwrap();
    assert_eq!(
        (&again.task_id, &again.pool.as_ref().unwrap().id),
        (&first.task_id, &first.pool.as_ref().unwrap().id)
    );
    let other = provision(&world, 30, "key-1").await.unwrap_err();
    assert_eq!(Refusal::from_status(&other).reason, "idempotency_mismatch");
    let refusal = Refusal::from_status(&provision(&world, 20, "key-2").await.unwrap_err());
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::FailedPrecondition, "pool_in_progress"));
    assert_eq!(refusal.metadata["pool_name"], "postgres-pool-1");
    assert_eq!(world.specs().await.len(), 1);
    assert_eq!(task(&world, &first.task_id).await.state, "running");

    let _server = world.bring_up(&world.specs().await[0]).await;

    let done = task(&world, &first.task_id).await;
    assert_eq!((done.state.as_str(), done.kind.as_str()), ("succeeded", "provision_pool"));
    assert_eq!(
        world.specs().await[0].config.lines().find(|line| line.starts_with("max_connections")),
        Some("max_connections = 360")
    );
    assert_eq!(audit(&pool).await, [("pool.provision".into(), "postgres-pool-1".into(), String::new())]);
    let unknown = proto::GetDatabaseTaskRequest { task_id: "x".into() };
    assert_eq!(
        world.admin().get_database_task(as_admin(&world, unknown)).await.unwrap_err().code(),
        Code::NotFound
    );
}

/// DBS-12: maintenance keeps tenants away; slots never fall below use; slots change the tuning.
#[sqlx::test(migrations = "./migrations")]
async fn a_pool_is_changed_within_its_rules(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, _server) = world.first_pool().await;
    for instance in ["a", "b"] {
        world.allocate(instance, "c", "starter").await.unwrap();
    }
    let name = "postgres-pool-1";

    let resting =
        update(&world, proto::UpdatePoolRequest { status: Some("maintenance".into()), ..named(name) })
            .await
            .unwrap();
    assert_eq!(resting.status, "maintenance");
    assert_eq!(world.allocate("c", "c", "starter").await.unwrap().status, "provisioning", "no new tenants");
    let back = update(
        &world,
        proto::UpdatePoolRequest { status: Some("active".into()), priority: Some(7), ..named(name) },
    )
    .await
    .unwrap();
    assert_eq!((back.status.as_str(), back.priority), ("active", 7));
    let below =
        update(&world, proto::UpdatePoolRequest { max_instances: Some(1), ..named(name) }).await.unwrap_err();
    assert_eq!(Refusal::from_status(&below).reason, "below_current_use");
    let full =
        update(&world, proto::UpdatePoolRequest { max_instances: Some(2), ..named(name) }).await.unwrap();
    assert_eq!((full.status.as_str(), full.max_instances), ("full", 2));
    let spec = world.specs().await.into_iter().find(|spec| spec.name == name).unwrap();
    assert_eq!(spec.generation, 2);
    assert!(spec.config.contains("max_connections = 136\n"), "{}", spec.config);
    let more =
        update(&world, proto::UpdatePoolRequest { max_instances: Some(3), ..named(name) }).await.unwrap();
    assert_eq!(more.status, "active");
    for (bad, field) in [
        (proto::UpdatePoolRequest { status: Some("error".into()), ..named(name) }, "status"),
        (proto::UpdatePoolRequest { priority: Some(1001), ..named(name) }, "priority"),
        (named(name), "status"),
    ] {
        assert_eq!(Refusal::from_status(&update(&world, bad).await.unwrap_err()).fields[0].field, field);
    }
    let in_making = update(
        &world,
        proto::UpdatePoolRequest { status: Some("maintenance".into()), ..named("postgres-pool-2") },
    )
    .await;
    assert_eq!(Refusal::from_status(&in_making.unwrap_err()).reason, "invalid_state");
    let log = audit(&pool).await;
    assert!(log[0].2.contains("a test (status active to maintenance)"), "{log:?}");
}

/// DBS-13: only an empty pool goes, whatever its state; twice is a success.
#[sqlx::test(migrations = "./migrations")]
async fn only_an_empty_pool_is_removed(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, _server) = world.first_pool().await;
    world.allocate("i", "c", "starter").await.unwrap();
    let refused = delete(&world, &spec.name).await.unwrap_err();
    assert_eq!(Refusal::from_status(&refused).reason, "pool_not_empty");
    for mode in ["soft", "purge"] {
        let request =
            proto::ReleaseRequest { instance_id: "i".into(), mode: mode.into(), reason: String::new() };
        world.allocations().release(request).await.unwrap();
        if mode == "soft" {
            let refused = delete(&world, &spec.name).await.unwrap_err();
            assert_eq!(Refusal::from_status(&refused).reason, "pool_not_empty", "a kept database counts");
        }
    }

    update(&world, proto::UpdatePoolRequest { status: Some("maintenance".into()), ..named(&spec.name) })
        .await
        .unwrap();
    assert_eq!(delete(&world, &spec.name).await.unwrap().status, "deprovisioning");
    assert_eq!(delete(&world, &spec.name).await.unwrap().status, "deprovisioning");
    let specs = world.specs().await;
    assert_eq!(specs.iter().find(|known| known.id == spec.id).unwrap().desired, "absent");
    assert_eq!(world.report(&spec.id, "removed", None).await, "deprovisioned");

    // DBS-13: its volume goes seven days later, once.
    let wanted_after = async |age: &str| {
        sqlx::query("UPDATE db_servers SET status_since = now() - $2::text::interval WHERE name = $1")
            .bind(&spec.name)
            .bind(age)
            .execute(&pool)
            .await
            .unwrap();
        world.specs().await.into_iter().find(|known| known.id == spec.id).map(|known| known.desired)
    };
    assert_eq!(wanted_after("6 days 23 hours").await, None);
    assert_eq!(wanted_after("7 days 1 second").await.as_deref(), Some("no_volume"));
    assert_eq!(world.report(&spec.id, "volume_removed", None).await, "deprovisioned");
    assert_eq!(wanted_after("8 days").await, None);

    // One that never came up.
    let ordered = provision(&world, 5, "").await.unwrap();
    let made = delete(&world, &ordered.pool.unwrap().id).await.unwrap();
    assert_eq!(made.status, "deprovisioning");
    assert_eq!(task(&world, &ordered.task_id).await.state, "failed");
    assert_eq!(delete(&world, "postgres-pool-9").await.unwrap_err().code(), Code::NotFound);
}

/// DBS-05, DBS-17, DBS-18: all parts of a real check; a stopped pool is degraded, then unhealthy, and
/// recovers by itself.
#[sqlx::test(migrations = "./migrations")]
async fn a_check_is_real_and_health_follows_it(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, mut server) = world.first_pool().await;

    let good = check(&world, "postgres-pool-1").await;
    let names: Vec<&str> = good.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["connect", "query", "write", "disk", "connections"]);
    assert!(good.checks.iter().all(|check| check.ok), "{:?}", good.checks);
    let seen = good.pool.unwrap();
    assert_eq!((seen.health_status.as_str(), good.latency_ms.is_some()), ("healthy", true));
    assert!(
        seen.storage_used_bytes > 1_000_000 && seen.storage_free_bytes.is_some() && seen.max_connections > 0
    );

    server.stop();
    let mut healths = Vec::new();
    for _ in 0..3 {
        let bad = check(&world, &spec.id).await;
        assert_eq!(bad.latency_ms, None);
        assert_eq!((bad.checks[0].name.as_str(), bad.checks[0].ok), ("connect", false));
        assert!(!bad.checks[0].detail.contains("127.0.0.1"), "{:?}", bad.checks);
        healths.push(bad.pool.unwrap().health_status);
    }
    assert_eq!(healths, ["degraded", "degraded", "unhealthy"]);
    assert_eq!(world.allocate("i", "c", "starter").await.unwrap().status, "provisioning");
    server.resume().await;
    world.app.health_round().await.unwrap();
    assert_eq!(world.allocate("i", "c", "starter").await.unwrap().status, "allocated");
}

/// DBS-06: the sums are those of SQL.
#[sqlx::test(migrations = "./migrations")]
async fn the_sums_are_those_of_the_rows(pool: PgPool) {
    let world = World::still(&pool, settings(10)).await;
    let (_spec, _server) = world.first_pool().await;
    for number in 0..6 {
        world.allocate(&format!("i{number}"), "c", "starter").await.unwrap();
    }
    world.allocate("big", "c", "premium").await.unwrap();
    let request = as_admin(&world, proto::GetDatabaseStatsRequest {});
    let stats = world.admin().get_database_stats(request).await.unwrap().into_inner();

    let (pools, active, capacity, used): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE status IN ('active', 'full')), sum(max_instances), sum(current_instances) FROM db_servers",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((i64::from(stats.total_pools), i64::from(stats.active_pools)), (pools, active));
    assert_eq!(
        (stats.total_capacity, stats.total_used),
        (u64::try_from(capacity).unwrap(), u64::try_from(used).unwrap())
    );
    assert_eq!(
        (stats.by_type["shared"], stats.by_type["dedicated"], stats.by_status["provisioning"]),
        (2, 1, 2)
    );
    assert_eq!(stats.pending_allocations, 1, "the one that waits for its own server");
    assert_eq!(stats.forecast_days_left, Some(0.7), "4 free, 6 taken on the first day");
}

/// DBS-10, DBS-34: at once, the same server each time, allocated when it is ready; starter has none.
#[sqlx::test(migrations = "./migrations")]
async fn a_dedicated_server_is_ordered_before_its_instance(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let ask = async |tier: &str| {
        let request = proto::ProvisionDedicatedRequest {
            instance_id: "premium-instance-001".into(),
            customer_id: "premium-customer-001".into(),
            plan_tier: tier.into(),
        };
        world.admin().provision_dedicated(as_admin(&world, request)).await.map(tonic::Response::into_inner)
    };
    assert_eq!(Refusal::from_status(&ask("starter").await.unwrap_err()).reason, "plan_not_dedicated");
    let first = ask("enterprise").await.unwrap();
    let again = ask("enterprise").await.unwrap();
    assert_eq!((first.status.as_str(), &first.task_id), ("provisioning", &again.task_id));
    assert_eq!(first.pool.unwrap().name, "postgres-dedicated-1");

    let _server = world.bring_up(&world.specs().await[0]).await;

    let ready = ask("enterprise").await.unwrap();
    let allocation = ready.allocation.unwrap();
    assert_eq!((ready.status.as_str(), allocation.db_type.as_str()), ("allocated", "dedicated"));
    assert_eq!(
        (allocation.secret_namespace.as_str(), allocation.secret_name.as_str()),
        ("odoo-instances", "odoo-premium-instance-001")
    );
    assert_eq!(task(&world, &first.task_id).await.state, "succeeded");
    let request = proto::GetAllocationRequest { instance_id: "premium-instance-001".into() };
    let found = world.admin().get_allocation(as_admin(&world, request)).await.unwrap().into_inner();
    assert_eq!(found.allocation.unwrap(), allocation);
    let request = proto::GetAllocationRequest { instance_id: "nobody".into() };
    assert_eq!(
        world.admin().get_allocation(as_admin(&world, request)).await.unwrap_err().code(),
        Code::NotFound
    );
}

/// DBS-20: a day in error and nothing on it; a soft release, a database or doubt keeps it. The history tells
/// what was done.
#[sqlx::test(migrations = "./migrations")]
async fn the_clean_up_never_touches_what_holds_anything(pool: PgPool) {
    let world = World::still(&pool, settings(1)).await;
    // Three pools: one with a kept database, one with a database that no row explains, one that never came
    // up.
    let (_first, held) = world.first_pool().await;
    world.allocate("kept", "c", "starter").await.unwrap();
    let request =
        proto::ReleaseRequest { instance_id: "kept".into(), mode: "soft".into(), reason: String::new() };
    world.allocations().release(request).await.unwrap();
    world.allocate("second", "c", "starter").await.unwrap();
    let spec = world.specs().await.into_iter().find(|spec| spec.status == "provisioning").unwrap();
    let stranger = world.bring_up(&spec).await;
    sqlx::raw_sql("CREATE DATABASE odoo_stranger").execute(&mut stranger.admin().await).await.unwrap();
    let request =
        proto::ReleaseRequest { instance_id: "second".into(), mode: "purge".into(), reason: String::new() };
    world.allocations().release(request).await.unwrap();
    if world.specs().await.iter().all(|spec| spec.status != "provisioning") {
        provision(&world, 1, "").await.unwrap();
    }
    sqlx::query("UPDATE db_servers SET status = 'error', status_since = now() - interval '25 hours'")
        .execute(&pool)
        .await
        .unwrap();
    let cleanup = async |dry_run| {
        let request =
            proto::StartDatabaseTaskRequest { kind: "cleanup".into(), dry_run, reason: "a test".into() };
        world.admin().start_database_task(as_admin(&world, request)).await.unwrap().into_inner()
    };

    let plan = cleanup(true).await;
    let verdicts: Vec<(&str, &str)> =
        plan.candidates.iter().map(|one| (one.name.as_str(), one.verdict.as_str())).collect();
    assert_eq!(
        verdicts,
        [("postgres-pool-1", "keep"), ("postgres-pool-2", "keep"), ("postgres-pool-3", "remove")]
    );
    assert!(
        world.statuses().await.iter().all(|(_, status, _)| status == "error"),
        "a dry run changes nothing"
    );
    let begun = cleanup(false).await;
    assert_eq!(task(&world, &begun.task_id).await.state, "queued");
    world.app.run_tasks().await.unwrap();

    let done = task(&world, &begun.task_id).await;
    let result: serde_json::Value = serde_json::from_str(&done.result_json).unwrap();
    assert_eq!(
        (done.state.as_str(), &result["removed"][0]["name"]),
        ("succeeded", &json!("postgres-pool-3")),
        "{result}"
    );
    assert_eq!(result["kept"].as_array().unwrap().len(), 2);
    let after: Vec<String> = world.statuses().await.into_iter().map(|(_, status, _)| status).collect();
    assert_eq!(after, ["full", "active", "deprovisioning"], "the round that was due found the two well");
    assert!(
        audit(&pool)
            .await
            .iter()
            .any(|(action, target, _)| action == "pool.cleanup" && target == "postgres-pool-3")
    );
    drop(held);

    sqlx::query("UPDATE db_servers SET status = 'error', status_since = now() - interval '25 hours' WHERE status <> 'deprovisioning'")
        .execute(&pool)
        .await
        .unwrap();
    // The kept one is away now: doubt keeps the one with the stranger too.
    drop(stranger);
    let plan = cleanup(true).await;
    assert!(plan.candidates.iter().all(|one| one.verdict == "keep"), "{plan:?}");
}

/// DBS-18, DBS-21: the schedule begins a round and a clean-up, each once in its interval, and every round is
/// in the history.
#[sqlx::test(migrations = "./migrations")]
async fn the_schedule_keeps_its_intervals(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, _server) = world.first_pool().await;
    sqlx::query("UPDATE db_servers SET last_health_check = NULL").execute(&pool).await.unwrap();

    assert_eq!(world.app.run_tasks().await.unwrap(), 2);
    assert_eq!(world.app.run_tasks().await.unwrap(), 0, "not due");
    sqlx::query("UPDATE tasks SET created_at = created_at - interval '6 minutes'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(world.app.run_tasks().await.unwrap(), 1, "a round each five minutes, a clean-up each day");

    let fresh: bool =
        sqlx::query_scalar("SELECT last_health_check > now() - interval '1 minute' FROM db_servers")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(fresh);
    let request = proto::ListDatabaseTasksRequest { kind: "health_check".into(), page: 0, page_size: 0 };
    let history = world.admin().list_database_tasks(as_admin(&world, request)).await.unwrap().into_inner();
    assert_eq!(history.total, 2);
    let result: serde_json::Value = serde_json::from_str(&history.tasks[0].result_json).unwrap();
    assert_eq!((&result["checked"], &result["healthy"]), (&json!(1), &json!(1)));
    assert_eq!(history.tasks[0].requested_by, "schedule");
}

/// Size, connections and slow statements of each tenant; a database without a row is shown as such.
#[sqlx::test(migrations = "./migrations")]
async fn slow_tenants_are_seen(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (_spec, server) = world.first_pool().await;
    let quiet = world.allocate("quiet", "c", "starter").await.unwrap().allocation.unwrap();
    let busy = world.allocate("busy", "c", "starter").await.unwrap().allocation.unwrap();
    sqlx::raw_sql("CREATE DATABASE odoo_stranger").execute(&mut server.admin().await).await.unwrap();
    let request = proto::GetCredentialsRequest { instance_id: "busy".into() };
    let password = world.allocations().get_credentials(request).await.unwrap().into_inner().password;
    let mut session = server.try_connect(&busy.db_user, &password, &busy.db_name).await.unwrap();
    sqlx::raw_sql("BEGIN; CREATE TABLE t (x text)").execute(&mut session).await.unwrap();

    let request = proto::ListPoolTenantsRequest { pool: "postgres-pool-1".into() };
    let seen = world.admin().list_pool_tenants(as_admin(&world, request)).await.unwrap().into_inner().tenants;

    let of = |name: &str| seen.iter().find(|tenant| tenant.db_name == name).unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].db_name, busy.db_name, "the one with an open transaction comes first");
    assert_eq!((of(&busy.db_name).connections, of(&busy.db_name).idle_in_transaction), (1, 1));
    assert_eq!((of(&quiet.db_name).connections, of(&quiet.db_name).instance_id.as_str()), (0, "quiet"));
    assert!(of(&quiet.db_name).size_bytes > 1_000_000);
    assert_eq!(of("odoo_stranger").instance_id, "");
}

/// DBS-17, DBS-19: the round, an administrator and the first look at a new pool may come at the same moment;
/// each makes what is missing.
#[sqlx::test(migrations = "./migrations")]
async fn first_checks_at_once_do_not_fail_over_each_other(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    world.allocate("instance-1", "customer-1", "starter").await.unwrap();
    let spec = world.specs().await.pop().unwrap();
    let server = world.build(&spec).await;
    world.report(&spec.id, "applied", None).await;
    world.report(&spec.id, "ready", Some(&server)).await;
    let id = Uuid::parse_str(&spec.id).unwrap();

    let checked = futures::future::join_all((0..5).map(|_| world.app.check(id))).await;

    for server in checked {
        let server = server.unwrap();
        assert_eq!((server.status.as_str(), server.last_error.as_str()), ("active", ""));
    }
}
