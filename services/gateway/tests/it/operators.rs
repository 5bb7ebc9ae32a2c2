//! Monitoring, pools, plans, mail (parts 2 to 5 of the API).

use contracts::billing::v1::{
    GetSubscriptionRequest, GetSubscriptionResponse, Limits, ListPlansRequest, ListPlansResponse, Money,
    Plan, Subscription,
};
use contracts::database::v1::{Allocation, GetPoolRequest, GetPoolResponse, Pool};
use contracts::instance::v1::{
    Difference, PurgeExpiredRequest, ReconcileRequest, ReconcileResponse, SetMonitoringRequest,
    SetMonitoringResponse,
};
use contracts::notification::v1::{
    PreviewTemplateRequest, PreviewTemplateResponse, TestConnectionRequest, TestConnectionResponse,
};
use runtime::identity::Role;
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, send};

fn rpc(method: &str) -> String {
    format!("saasodoo.instance.v1.{method}")
}

/// INS-38, MON-01, MON-03, MON-05, SEC-17
#[tokio::test]
async fn operators_switch_and_compare() {
    let world = World::start().await;
    let token = world.token(Role::Admin);
    world.fake.on(&rpc("InstanceAdminService/SetMonitoring"), |request: SetMonitoringRequest| {
        let status = if request.command == "stop" { "stopped" } else { "running" };
        Ok(SetMonitoringResponse { status: status.into(), changed: false, message: String::new() })
    });
    let base = "/instance/api/v1/monitoring";
    let started = send(world.request("POST", &format!("{base}/start")).bearer_auth(&token)).await;
    assert_eq!(
        (started.status, &started.json()["status"], &started.json()["changed"]),
        (200, &json!("running"), &json!(false))
    );
    assert_eq!(world.post(&format!("{base}/stop"), &token, &json!({})).await.fields(), ["reason"]);
    assert_eq!(
        world
            .post(&format!("{base}/stop"), &token, &json!({"reason": "upgrade of the cluster"}))
            .await
            .status,
        200
    );
    world.fake.on(&rpc("InstanceAdminService/Reconcile"), |request: ReconcileRequest| {
        let differences = vec![Difference {
            kind: "missing".into(),
            object: "Service/odoo-1".into(),
            ..Difference::default()
        }];
        Ok(ReconcileResponse { task_id: (!request.dry_run).then(|| "t".to_owned()), differences })
    });
    let dry = world.post(&format!("{base}/reconcile"), &token, &json!({"dry_run": true})).await;
    assert_eq!((dry.status, &dry.json()["differences"][0]["kind"]), (200, &json!("missing")));
    let wet = send(world.request("POST", &format!("{base}/reconcile")).bearer_auth(&token)).await;
    assert_eq!((wet.status, wet.json()), (202, json!({"task_id": "t"})));
    let purge = world.post("/instance/admin/purge", &token, &json!({"reason": "retention is over"})).await;
    assert_eq!((purge.status, &purge.json()["dry_run"]), (200, &json!(true)));
    let purge = world
        .post("/instance/admin/purge", &token, &json!({"dry_run": false, "reason": "retention is over"}))
        .await;
    assert_eq!(purge.status, 202);
    let calls = world.fake.calls::<PurgeExpiredRequest>(&rpc("InstanceAdminService/PurgeExpired"));
    assert_eq!((calls[0].1.dry_run, calls[1].1.dry_run), (true, false));
}

/// 3.1, 3.2: pools by id or name, without a password.
#[tokio::test]
async fn a_pool_is_shown_with_its_allocations() {
    let world = World::start().await;
    world.fake.on("saasodoo.database.v1.DatabaseAdminService/GetPool", |request: GetPoolRequest| {
        let pool = Pool { name: request.pool, current_instances: 1, max_instances: 8, ..Pool::default() };
        let allocation =
            Allocation { db_name: "odoo_1".into(), state: "allocated".into(), ..Allocation::default() };
        Ok(GetPoolResponse { pool: Some(pool), allocations: vec![allocation] })
    });
    let token = world.token(Role::Admin);
    let shown = world.get("/database/api/database/admin/pools/postgres-pool-1", &token).await.json();
    assert_eq!((&shown["name"], &shown["capacity_percentage"]), (&json!("postgres-pool-1"), &json!(12.5)));
    assert_eq!((&shown["allocations"][0]["db_name"], &shown["host"]), (&json!("odoo_1"), &json!(null)));
    assert!(!shown.to_string().contains("password"));
}

/// BIL-04, 4.1, 4.2
#[tokio::test]
async fn plans_are_public_and_subscriptions_are_not() {
    let world = World::start().await;
    world.fake.on("saasodoo.billing.v1.CatalogService/ListPlans", |request: ListPlansRequest| {
        assert!(!request.include_unavailable);
        let plan = Plan {
            name: "basic-monthly".into(),
            trial_days: 14,
            price: Some(Money { amount_minor: 900, currency: "USD".into() }),
            limits: Some(Limits { cpu_millis: 1000, memory_mib: 2048, storage_mib: 10_240 }),
            ..Plan::default()
        };
        Ok(ListPlansResponse { plans: vec![plan] })
    });
    let answer = send(world.request("GET", "/billing/api/billing/plans")).await;
    let plan = &answer.json()["plans"][0];
    assert_eq!(
        (&answer.json()["total"], &plan["price"]),
        (&json!(1), &json!({"amount_minor": 900, "currency": "USD", "display": "USD 9.00"}))
    );
    assert_eq!(
        (&plan["type"], &plan["cpu_limit"], &plan["storage_limit"]),
        (&json!("trial"), &json!(1.0), &json!("10Gi"))
    );
    assert!(answer.header("cache-control").contains("public"));
    world.fake.on("saasodoo.billing.v1.BillingService/GetSubscription", |request: GetSubscriptionRequest| {
        Ok(GetSubscriptionResponse {
            subscription: Some(Subscription { id: request.subscription_id, ..Subscription::default() }),
        })
    });
    let token = world.token(Role::Customer);
    let id = Uuid::now_v7();
    let shown =
        world.get(&format!("/billing/api/billing/subscriptions/subscription/{id}"), &token).await.json();
    assert_eq!(
        (&shown["subscription"]["subscription_id"], &shown["subscription"]["ladder"]["state"]),
        (&json!(id), &json!("none"))
    );
    for path in ["subscriptions", "trial-eligibility"] {
        let foreign = format!("/billing/api/billing/{path}/{}", Uuid::now_v7());
        assert_eq!(world.get(&foreign, &token).await.problem(), (403, "forbidden".into()));
        assert_eq!(world.get(&format!("/billing/api/billing/{path}/me"), &token).await.status, 200);
        assert_eq!(world.get(&foreign, &world.token(Role::Operator)).await.status, 200);
    }
}

/// NTF-10, part 5 of the API
#[tokio::test]
async fn operators_look_at_mail() {
    let world = World::start().await;
    let token = world.token(Role::Admin);
    let method = "saasodoo.notification.v1.NotificationAdminService/";
    world.fake.on(&format!("{method}PreviewTemplate"), |request: PreviewTemplateRequest| {
        Ok(PreviewTemplateResponse { subject: request.variables_json, ..PreviewTemplateResponse::default() })
    });
    let path = "/notification/api/v1/templates/welcome/preview";
    let shown = world.post(path, &token, &json!({"variables": {"first_name": "Ada"}})).await.json();
    assert_eq!(shown["subject"], "{\"first_name\":\"Ada\"}");
    assert_eq!(send(world.request("POST", path).bearer_auth(&token)).await.json()["subject"], "{}");
    for (ok, status) in [(true, 200), (false, 503)] {
        world.fake.on(&format!("{method}TestConnection"), move |_: TestConnectionRequest| {
            Ok(TestConnectionResponse { ok, latency_ms: 4 })
        });
        assert_eq!(world.get("/notification/api/v1/emails/test/connection", &token).await.status, status);
    }
}

/// GTW-05: what comes later is known, behind its access, and says so.
#[tokio::test]
async fn later_routes_answer_501_behind_their_access() {
    let world = World::start().await;
    let path = "/instance/admin/capacity";
    assert_eq!(send(world.request("GET", path)).await.problem(), (401, "unauthenticated".into()));
    let customer = world.token(Role::Customer);
    assert_eq!(world.get(path, &customer).await.problem(), (403, "forbidden".into()));
    let admin = world.token(Role::Admin);
    assert_eq!(world.get(path, &admin).await.problem(), (501, "not_implemented".into()));
}
