//! Part 3 of the API: the runbook's calls of the database service.

use contracts::database::v1::{
    AllocateRequest, AllocateResponse, Allocation, CheckPoolRequest, CheckPoolResponse, CleanupCandidate,
    DatabaseTask, GetDatabaseTaskRequest, GetDatabaseTaskResponse, GetPoolRequest, GetPoolResponse, Pool,
    PoolCheck, PreviewMoveRequest, PreviewMoveResponse, ProvisionDedicatedRequest,
    ProvisionDedicatedResponse, ProvisionPoolRequest, ProvisionPoolResponse, ReleaseRequest, ReleaseResponse,
    StartDatabaseTaskRequest, StartDatabaseTaskResponse, UpdatePoolRequest,
};
use contracts::instance::v1::{
    Drain, DrainPoolRequest, DrainPoolResponse, MoveDatabaseRequest, MoveDatabaseResponse, NotMoved,
};
use runtime::grpc::Refusal;
use runtime::identity::Role;
use serde_json::json;
use tonic::Code;

use crate::world::{World, send};

const BASE: &str = "/database/api/database";

fn rpc(method: &str) -> String {
    format!("saasodoo.database.v1.DatabaseAdminService/{method}")
}

/// DBS-02, DBS-03, GTW-13: 202 with task and pool; the key travels; a pool in the making is told with the
/// refusal.
#[tokio::test]
async fn a_pool_is_ordered_by_hand() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    let path = format!("{BASE}/admin/provision-pool");
    world.fake.on(&rpc("ProvisionPool"), |request: ProvisionPoolRequest| {
        let pool =
            Pool { name: "postgres-pool-2".into(), max_instances: request.max_instances, ..Pool::default() };
        Ok(ProvisionPoolResponse { task_id: "t".into(), pool: Some(pool) })
    });

    assert_eq!(world.post_public(&path, &json!({})).await.problem().0, 401);
    let customer = world.token(Role::Customer);
    assert_eq!(world.post(&path, &customer, &json!({})).await.problem().0, 403);
    for bad in [json!({"max_instances": 0}), json!({"max_instances": 501})] {
        assert_eq!(world.post(&path, &admin, &bad).await.fields(), ["max_instances"]);
    }
    assert_eq!(
        world.post(&path, &admin, &json!({"server_type": "dedicated"})).await.fields(),
        ["server_type"]
    );
    let request = world.request("POST", &path).bearer_auth(&admin).header("Idempotency-Key", "k");
    let ordered = send(request.json(&json!({"max_instances": 50}))).await;
    assert_eq!(ordered.status, 202);
    assert_eq!(ordered.header("location"), format!("{BASE}/admin/tasks/t"));
    let body = ordered.json();
    assert_eq!((&body["pool"]["name"], &body["max_instances"]), (&json!("postgres-pool-2"), &json!(50)));
    assert_eq!(world.fake.calls::<ProvisionPoolRequest>(&rpc("ProvisionPool"))[0].1.request_key, "k");

    world.fake.on(&rpc("ProvisionPool"), |_: ProvisionPoolRequest| {
        let refusal = Refusal::new(
            Code::FailedPrecondition,
            "pool_in_progress",
            "postgres-pool-2 is being made already",
        );
        Err::<ProvisionPoolResponse, _>(
            refusal.with_metadata("pool_id", "id").with_metadata("pool_name", "postgres-pool-2").into(),
        )
    });
    let refused = world.post(&path, &admin, &json!({"max_instances": 50})).await;
    assert_eq!(refused.problem(), (409, "pool_in_progress".into()));
    assert_eq!(
        (&refused.json()["pool"]["id"], &refused.json()["pool"]["name"]),
        (&json!("id"), &json!("postgres-pool-2"))
    );
}

/// DBS-12, DBS-13, SEC-17: changes need a reason.
#[tokio::test]
async fn changes_of_a_pool_say_why() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    let path = format!("{BASE}/admin/pools/postgres-pool-1");
    let send = async |method: &str, body: serde_json::Value| {
        send(world.request(method, &path).bearer_auth(&admin).json(&body)).await
    };
    assert_eq!(send("PATCH", json!({"status": "maintenance"})).await.fields(), ["reason"]);
    assert_eq!(send("DELETE", json!({})).await.fields(), ["reason"]);
    assert_eq!(send("PATCH", json!({"name": "x", "reason": "because"})).await.fields(), ["name"]);
}

/// DBS-05
#[tokio::test]
async fn a_check_tells_its_parts() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("CheckPool"), |request: CheckPoolRequest| {
        let pool = Pool {
            name: request.pool,
            health_status: "degraded".into(),
            health_check_failures: 1,
            ..Pool::default()
        };
        let check = PoolCheck { name: "connect".into(), ok: false, detail: "connection refused".into() };
        Ok(CheckPoolResponse { pool: Some(pool), latency_ms: None, checks: vec![check], checked_at: None })
    });
    let path = format!("{BASE}/admin/pools/postgres-pool-1/health-check");
    let shown = send(world.request("POST", &path).bearer_auth(&admin)).await.json();
    assert_eq!(
        (&shown["health_status"], &shown["failures"], &shown["latency_ms"]),
        (&json!("degraded"), &json!(1), &json!(null))
    );
    assert_eq!(shown["checks"][0], json!({"name": "connect", "ok": false, "detail": "connection refused"}));
}

/// DBS-07, DBS-09, DBS-10: 200 with a reference to the Secret, or 202 with `Retry-After`; never a password.
#[tokio::test]
async fn allocations_are_given_or_come_later() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    let found = || Allocation {
        state: "allocated".into(),
        db_name: "odoo_1".into(),
        secret_name: "odoo-i".into(),
        ..Allocation::default()
    };
    world.fake.on("saasodoo.database.v1.AllocationService/Allocate", move |request: AllocateRequest| {
        let ready = request.plan_tier == "starter";
        Ok(AllocateResponse { status: String::new(), allocation: ready.then(found), retry_after_seconds: 30 })
    });
    let body = |tier: &str| json!({"instance_id": "test-instance-001", "customer_id": "test-customer-001", "plan_tier": tier});
    let given = world.post(&format!("{BASE}/allocate"), &admin, &body("starter")).await;
    assert_eq!((given.status, &given.json()["status"]), (200, &json!("allocated")));
    assert_eq!(given.json()["credentials"]["secret_name"], "odoo-i");
    assert!(!given.text.contains("password"));
    let later = world.post(&format!("{BASE}/allocate"), &admin, &body("standard")).await;
    assert_eq!((later.status, later.header("retry-after")), (202, "30"));
    assert_eq!((&later.json()["status"], &later.json()["retry_after"]), (&json!("provisioning"), &json!(30)));

    world.fake.on(&rpc("ProvisionDedicated"), |_: ProvisionDedicatedRequest| {
        let pool = Pool { name: "postgres-dedicated-1".into(), ..Pool::default() };
        Ok(ProvisionDedicatedResponse {
            task_id: "t".into(),
            pool: Some(pool),
            retry_after_seconds: 30,
            ..Default::default()
        })
    });
    let ordered = world.post(&format!("{BASE}/provision-dedicated"), &admin, &body("enterprise")).await;
    assert_eq!((ordered.status, &ordered.json()["name"]), (202, &json!("postgres-dedicated-1")));

    world.fake.on("saasodoo.database.v1.AllocationService/Release", |request: ReleaseRequest| {
        let status = if request.instance_id == "nobody" { "absent" } else { "released" };
        Ok(ReleaseResponse { status: status.into(), purge_after: None })
    });
    let path = format!("{BASE}/release");
    assert_eq!(world.post(&path, &admin, &json!({"instance_id": "nobody"})).await.problem().0, 404);
    assert_eq!(world.post(&path, &admin, &json!({"instance_id": "i"})).await.status, 202);
    let calls = world.fake.calls::<ReleaseRequest>("saasodoo.database.v1.AllocationService/Release");
    assert_eq!(calls[1].1.mode, "soft", "the default keeps the database");
}

/// DBS-21
#[tokio::test]
async fn tasks_are_begun_and_looked_at() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    world.fake.on(&rpc("StartDatabaseTask"), |request: StartDatabaseTaskRequest| {
        let candidate =
            CleanupCandidate { name: "postgres-pool-3".into(), verdict: "keep".into(), ..Default::default() };
        let task_id = if request.dry_run { String::new() } else { request.kind };
        Ok(StartDatabaseTaskResponse { task_id, candidates: vec![candidate] })
    });
    let begun =
        send(world.request("POST", &format!("{BASE}/admin/tasks/health-check")).bearer_auth(&admin)).await;
    assert_eq!((begun.status, begun.json()), (202, json!({"task_id": "health_check"})));
    let path = format!("{BASE}/admin/tasks/cleanup");
    let dry = world.post(&path, &admin, &json!({"dry_run": true})).await;
    assert_eq!((dry.status, &dry.json()["pools"][0]["verdict"]), (200, &json!("keep")));
    assert_eq!(world.post(&path, &admin, &json!({})).await.status, 202);
    world.fake.on(&rpc("GetDatabaseTask"), |request: GetDatabaseTaskRequest| {
        let result_json = r#"{"checked": 2}"#.to_owned();
        let task = DatabaseTask {
            task_id: request.task_id,
            state: "succeeded".into(),
            result_json,
            ..Default::default()
        };
        Ok(GetDatabaseTaskResponse { task: Some(task) })
    });
    let task = world.get(&format!("{BASE}/admin/tasks/t"), &admin).await.json();
    assert_eq!(
        (&task["state"], &task["result"]["checked"], &task["error"]),
        (&json!("succeeded"), &json!(2), &json!(null))
    );
}

/// DBS-33: how long a move takes is shown first, when nothing happens yet; a drain puts its pool into
/// maintenance and says how far it is.
#[tokio::test]
async fn a_move_is_estimated_first_and_a_pool_is_emptied() {
    let world = World::start().await;
    let admin = world.token(Role::Admin);
    let instance = uuid::Uuid::now_v7();
    world.fake.on(&rpc("PreviewMove"), |_: PreviewMoveRequest| {
        Ok(PreviewMoveResponse {
            source_pool: "postgres-pool-1".into(),
            target_pool: "postgres-pool-2".into(),
            size_bytes: 1 << 30,
            estimated_downtime_seconds: 95,
            estimated_from_moves: 7,
        })
    });
    let begin = "saasodoo.instance.v1.InstanceAdminService/MoveDatabase";
    world.fake.on(begin, |_: MoveDatabaseRequest| Ok(MoveDatabaseResponse { operation_id: "op".into() }));
    let path = format!("{BASE}/admin/allocations/{instance}/move");
    let wish = json!({"target_pool_id": "postgres-pool-2", "reason": "the pool is full", "dry_run": true});
    let told = world.post(&path, &admin, &wish).await;
    assert_eq!((told.status, &told.json()["estimated_downtime_seconds"]), (200, &json!(95)));
    assert_eq!(
        (&told.json()["estimated_from_moves"], &told.json()["operation_id"]),
        (&json!(7), &json!(null))
    );
    assert!(world.fake.calls::<MoveDatabaseRequest>(begin).is_empty(), "nothing begins");
    let begun = world.post(&path, &admin, &json!({"reason": "the pool is full"})).await;
    assert_eq!((begun.status, &begun.json()["operation_id"]), (202, &json!("op")));
    assert_eq!(begun.json()["estimated_downtime_seconds"], 95);

    world.fake.on(&rpc("GetPool"), |_: GetPoolRequest| {
        let pool = Pool {
            id: "p".into(),
            status: "active".into(),
            server_type: "dedicated".into(),
            ..Pool::default()
        };
        Ok(GetPoolResponse { pool: Some(pool), allocations: Vec::new() })
    });
    world.fake.on("saasodoo.instance.v1.InstanceAdminService/DrainPool", |request: DrainPoolRequest| {
        let not_moved = vec![NotMoved { instance_id: "i".into(), reason: "copy_failed".into() }];
        let drain = Drain { state: "open".into(), parallel: request.parallel, not_moved, ..Drain::default() };
        Ok(DrainPoolResponse { drain: Some(drain) })
    });
    let path = format!("{BASE}/admin/pools/postgres-dedicated-1/drain");
    assert_eq!(
        world.post(&path, &admin, &json!({"reason": "upgrade", "parallel": 51})).await.fields(),
        ["parallel"]
    );
    let begun = world.post(&path, &admin, &json!({"reason": "upgrade"})).await;
    let body = begun.json();
    assert_eq!((begun.status, &body["state"], &body["parallel"]), (202, &json!("open"), &json!(5)));
    assert_eq!(body["not_moved"][0]["reason"], "copy_failed");
    let changes = world.fake.calls::<UpdatePoolRequest>(&rpc("UpdatePool"));
    assert_eq!(changes[0].1.status.as_deref(), Some("maintenance"));
    let asked = world.fake.calls::<DrainPoolRequest>("saasodoo.instance.v1.InstanceAdminService/DrainPool");
    assert!(asked[0].1.dedicated, "a dedicated tenant stays dedicated");
}
