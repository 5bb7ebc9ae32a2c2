//! Instances, actions, operations, monitoring, pools, plans (parts 2 to 5 of the API).

use contracts::instance::v1::{
    ActOnInstanceRequest, ActOnInstanceResponse, CancelOperationRequest, CancelOperationResponse,
    CheckSubdomainRequest, CheckSubdomainResponse, CreateInstanceRequest, CreateInstanceResponse,
    GetInstanceLogsRequest, GetInstanceRequest, GetInstanceResponse, GetInstanceStatusRequest,
    GetInstanceStatusResponse, Instance, ListInstancesRequest, ListInstancesResponse, ObservedState,
    Operation, RevealCredentialsRequest, RevealCredentialsResponse, UpdateInstanceRequest,
    UpdateInstanceResponse,
};
use contracts::scalars::timestamp;
use runtime::grpc::Refusal;
use runtime::identity::Role;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::world::{World, send};

fn rpc(method: &str) -> String {
    format!("saasodoo.instance.v1.{method}")
}

fn instance(id: &str) -> Instance {
    Instance {
        id: id.to_owned(),
        name: "test-instance".into(),
        status: "creating".into(),
        subdomain: "test-instance".into(),
        cpu_millis: 1000,
        memory_mib: 2048,
        storage_mib: 10_240,
        internal_url: "http://odoo-1:8069".into(),
        db_server_id: Uuid::now_v7().to_string(),
        db_host: "postgres-pool-1".into(),
        db_port: 5432,
        deployment_name: "odoo-1".into(),
        namespace: "odoo-instances".into(),
        version: 3,
        created_at: Some(timestamp(runtime::clock::now())),
        ..Instance::default()
    }
}

/// INS-01, INS-02, INS-06: the guide's seven fields, on both spellings, with and without a final slash.
#[tokio::test]
async fn the_guides_body_orders_an_instance() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let id = Uuid::now_v7().to_string();
    let made = instance(&id);
    world.fake.on(&rpc("InstanceService/CreateInstance"), move |_: CreateInstanceRequest| {
        Ok(CreateInstanceResponse { instance: Some(made.clone()), ..Default::default() })
    });
    let body = json!({"name": "test-instance", "odoo_version": "17", "admin_email": "admin@test.com", "demo_data": true,
        "cpu_limit": 1.0, "memory_limit": "2G", "storage_limit": "10Gi"});
    for path in [
        "/instance/instances",
        "/instance/instances/",
        "/instance/api/v1/instances",
        "/instance/api/v1/instances/",
    ] {
        let answer = world.post(path, &token, &body).await;
        assert_eq!(answer.status, 201, "{path}: {answer:?}");
        assert_eq!(answer.header("location"), format!("/instance/instances/{id}"));
        assert_eq!(answer.header("etag"), "\"3\"");
        let shown = answer.json();
        assert_eq!((&shown["id"], &shown["status"]), (&json!(id), &json!("creating")));
        assert_eq!((&shown["memory_limit"], &shown["cpu_limit"]), (&json!("2Gi"), &json!(1.0)));
    }
    let calls = world.fake.calls::<CreateInstanceRequest>(&rpc("InstanceService/CreateInstance"));
    assert_eq!(calls.len(), 4);
    let request = &calls[0].1;
    assert_eq!(
        (request.cpu_millis, request.memory_mib, request.storage_mib),
        (Some(1000), Some(2048), Some(10_240))
    );
    assert_eq!((request.idempotency_key.as_str(), &request.trial, &request.plan), ("", &None, &None));
}

/// INS-06, INS-12, INS-11, 2.1: shapes are checked here, the key is passed on, `plan_name` is `plan`.
#[tokio::test]
async fn a_bad_order_names_its_fields() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    for (body, fields) in [
        (json!({}), vec!["name"]),
        (json!({"name": "  "}), vec!["name"]),
        (json!({"name": "x", "memory_limit": "2Ti"}), vec!["memory_limit"]),
        (json!({"name": "x", "storage_limit": 10}), vec!["storage_limit"]),
        (json!({"name": "x", "cpu_limit": 0.05}), vec!["cpu_limit"]),
        (json!({"name": "x", "cpu_limit": 8.1}), vec!["cpu_limit"]),
        (json!({"name": "x", "instance_type": "toy"}), vec!["instance_type"]),
        (json!({"name": "x", "customer_id": "me"}), vec!["customer_id"]),
        (
            json!({"name": "x".repeat(101), "subdomain": "ab", "database_name": "A;"}),
            vec!["name", "subdomain", "database_name"],
        ),
        (json!({"name": "x", "labels": {"k".repeat(64): "v"}}), vec!["labels"]),
        (json!({"name": "x", "demo_data": "yes"}), vec!["demo_data"]),
    ] {
        let answer = world.post("/instance/instances", &token, &body).await;
        assert_eq!(
            (answer.problem().0, answer.fields()),
            (422, fields.iter().map(ToString::to_string).collect()),
            "{body}"
        );
    }
    let post = |key: String| {
        let request =
            world.request("POST", "/instance/instances").bearer_auth(&token).header("idempotency-key", key);
        send(request.json(&json!({"name": "Ünïcode / test", "plan_name": "basic-monthly"})))
    };
    assert_eq!(post("k".repeat(201)).await.fields(), ["Idempotency-Key"]);
    post("key-1".into()).await;
    let calls = world.fake.calls::<CreateInstanceRequest>(&rpc("InstanceService/CreateInstance"));
    let request = &calls[0].1;
    assert_eq!((request.idempotency_key.as_str(), request.plan.as_deref()), ("key-1", Some("basic-monthly")));
    assert_eq!(request.name, "Ünïcode / test");
}

/// INS-15, INS-36, INS-40, 2.2: operators see where it runs, owners do not; nobody sees a password.
#[tokio::test]
async fn only_operators_see_where_an_instance_runs() {
    let world = World::start().await;
    let id = Uuid::now_v7().to_string();
    let found = instance(&id);
    world.fake.on(&rpc("InstanceService/GetInstance"), move |_: GetInstanceRequest| {
        Ok(GetInstanceResponse { instance: Some(found.clone()) })
    });
    world.fake.on(&rpc("InstanceService/GetInstanceStatus"), |_: GetInstanceStatusRequest| {
        let observed =
            ObservedState { pod_ip: "10.42.0.9".into(), node_name: "n1".into(), ..ObservedState::default() };
        Ok(GetInstanceStatusResponse { observed: Some(observed), ..GetInstanceStatusResponse::default() })
    });
    for (role, sees) in [(Role::Customer, false), (Role::Operator, true)] {
        let token = world.token(role);
        let shown = world.get(&format!("/instance/instances/{id}"), &token).await.json();
        for field in ["internal_url", "db_server_id", "deployment_name", "namespace"] {
            assert_eq!(shown.get(field).is_some(), sees, "{field} as {role}");
        }
        assert_eq!((&shown["db_host"], &shown["db_port"]), (&json!("postgres-pool-1"), &json!(5432)));
        assert_eq!((&shown["error"], &shown["current_operation"]), (&json!(null), &json!(null)));
        assert!(shown.as_object().unwrap().keys().all(|name| !name.contains("password")));
        let status = world.get(&format!("/instance/instances/{id}/status"), &token).await.json();
        assert_eq!(status["observed"].get("pod_ip").is_some(), sees);
        assert_eq!((&status["observed"]["node_name"], &status["probe"]), (&json!("n1"), &json!(null)));
    }
}

/// INS-16
#[tokio::test]
async fn a_list_is_the_callers_own() {
    let world = World::start().await;
    let me = Uuid::now_v7();
    let token = world.token_of(me, Role::Customer);
    world.fake.on(&rpc("InstanceService/ListInstances"), |_: ListInstancesRequest| {
        Ok(ListInstancesResponse { instances: vec![instance("a")], total: 41 })
    });
    let path = "/instance/instances";
    let answer =
        world.get(&format!("{path}?status=running&status=stopped&q=shop&sort=-created_at"), &token).await;
    assert_eq!(
        (answer.status, &answer.json()["total"], &answer.json()["instances"][0]["id"]),
        (200, &json!(41), &json!("a"))
    );
    assert!(answer.header("link").contains(
        "status=running&status=stopped&q=shop&sort=-created_at&page=2&page_size=20>; rel=\"next\""
    ));
    let stranger = format!("{path}?customer_id={}", Uuid::now_v7());
    assert_eq!(world.get(&stranger, &token).await.problem(), (403, "forbidden".into()));
    assert_eq!(world.get(&format!("{path}?customer_id={me}"), &token).await.status, 200);
    assert_eq!(world.get(&format!("{path}?sort=price"), &token).await.fields(), ["sort"]);
    let operator = world.token(Role::Operator);
    assert_eq!(world.get(&stranger, &operator).await.status, 200);
    assert_eq!(world.get("/instance/admin/all-instances", &operator).await.status, 200);
    let calls = world.fake.calls::<ListInstancesRequest>(&rpc("InstanceService/ListInstances"));
    assert_eq!(calls[0].1.status, ["running", "stopped"]);
    assert_eq!((calls[0].1.customer_id.as_deref(), calls[0].1.all_customers), (None, false));
    assert!(calls[3].1.all_customers);
}

/// INS-17
#[tokio::test]
async fn a_change_is_200_or_202_when_a_rollout_follows() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let id = Uuid::now_v7().to_string();
    let found = instance(&id);
    let operation = Uuid::now_v7().to_string();
    let rollout = operation.clone();
    world.fake.on(&rpc("InstanceService/UpdateInstance"), move |request: UpdateInstanceRequest| {
        let operation_id = request.cpu_millis.map(|_| rollout.clone());
        Ok(UpdateInstanceResponse { instance: Some(found.clone()), operation_id })
    });
    let path = format!("/instance/instances/{id}");
    for method in ["PATCH", "PUT"] {
        let change = |body: serde_json::Value| {
            let request = world.request(method, &path).bearer_auth(&token).header("if-match", "\"3\"");
            send(request.json(&body))
        };
        let answer = change(json!({"name": "shop", "labels": {}})).await;
        assert_eq!((answer.status, answer.json().get("operation_id")), (200, None));
        let answer = change(json!({"cpu_limit": 0.5})).await;
        assert_eq!(
            (answer.status, &answer.json()["operation_id"], &answer.json()["id"]),
            (202, &json!(operation), &json!(id))
        );
        assert_eq!(answer.header("location"), format!("{path}/operations/{operation}"));
    }
    let calls = world.fake.calls::<UpdateInstanceRequest>(&rpc("InstanceService/UpdateInstance"));
    assert_eq!(
        (calls[0].1.expected_version, calls[0].1.labels.is_some(), calls[1].1.labels.is_some()),
        (Some(3), true, false)
    );
}

/// INS-18, INS-19, INS-21: every action by its route and by its name. The word and its parameters go to
/// instance-service as they are: it alone knows the words, and who may ask for what.
#[tokio::test]
async fn actions_answer_alike() {
    let world = World::start().await;
    let (customer, admin) = (world.token(Role::Customer), world.token(Role::Admin));
    let id = Uuid::now_v7().to_string();
    world.fake.on(&rpc("InstanceService/ActOnInstance"), |mut request: ActOnInstanceRequest| {
        // As instance-service, which alone knows the words and who may.
        match request.action.as_str() {
            "unpause" => request.action = "unsuspend".into(),
            "explode" => {
                return Err(
                    Refusal::new(Code::InvalidArgument, "unknown_action", "the action is not known").into()
                );
            }
            "undelete" if request.reason.is_none() => {
                return Err(Refusal::new(Code::PermissionDenied, "forbidden", "not yours").into());
            }
            _ => {}
        }
        let changed = request.action != "stop";
        Ok(ActOnInstanceResponse {
            instance_id: request.instance_id,
            action: request.action,
            operation_id: changed.then(|| "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11".to_owned()),
            status: "running".into(),
            changed,
            ..ActOnInstanceResponse::default()
        })
    });
    let one = format!("/instance/instances/{id}");
    let reason = json!({"reason": "ticket 4711"});
    for (token, route, action, body) in [
        (&customer, "start", "start", json!({})),
        (&customer, "restart", "restart", json!({})),
        (&customer, "terminate", "terminate", json!({"confirm": "x", "final_backup": false})),
        (&admin, "suspend", "suspend", reason.clone()),
        (&admin, "unsuspend", "unsuspend", json!({"force": true})),
        (&admin, "unpause", "unsuspend", json!({})),
        (&admin, "undelete", "undelete", reason.clone()),
        (&admin, "apply-resources", "apply_resources", json!({})),
    ] {
        let answer = world.post(&format!("{one}/{route}"), token, &body).await;
        let shown = answer.json();
        assert_eq!((answer.status, &shown["action"]), (202, &json!(action)), "{route}: {answer:?}");
        assert!(shown["operation_id"].is_string() && shown["operation_id"] == shown["job_id"]);
        assert!(answer.header("location").starts_with(&format!("{one}/operations/")));
        assert!(shown["timestamp"].as_str().unwrap().ends_with('Z'));
        let named = json!({"action": route.replace('-', "_"), "parameters": body});
        let again = world.post(&format!("{one}/actions"), token, &named).await;
        assert_eq!((again.status, &again.json()["action"]), (202, &json!(action)), "{again:?}");
    }
    let stopped = world.post(&format!("{one}/stop"), &customer, &json!({"reason": "night"})).await;
    assert_eq!(
        (stopped.status, &stopped.json()["changed"], &stopped.json()["operation_id"]),
        (200, &json!(false), &json!(null))
    );
    let unknown = world.post(&format!("{one}/actions"), &customer, &json!({"action": "explode"})).await;
    assert_eq!(unknown.problem(), (422, "unknown_action".into()));
    let above = world.post(&format!("{one}/actions"), &customer, &json!({"action": "undelete"})).await;
    assert_eq!(above.problem(), (403, "forbidden".into()));
    let later = world.post(&format!("{one}/actions"), &customer, &json!({"action": "backup"})).await;
    assert_eq!(later.problem(), (501, "not_implemented".into()));
    let refusal = Refusal::new(
        Code::FailedPrecondition,
        "invalid_state",
        "the instance is creating; possible: terminate",
    );
    world.fake.on(
        &rpc("InstanceService/ActOnInstance"),
        move |_: ActOnInstanceRequest| -> Result<ActOnInstanceResponse, _> { Err(refusal.clone().into()) },
    );
    assert_eq!(
        world.post(&format!("{one}/start"), &customer, &json!({})).await.problem(),
        (409, "invalid_state".into())
    );
}

/// INS-26: the confirmation of DELETE stands in the body or in the query.
#[tokio::test]
async fn a_delete_is_confirmed_in_body_or_query() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let path = format!("/instance/instances/{}", Uuid::now_v7());
    send(world.request("DELETE", &format!("{path}?confirm=one")).bearer_auth(&token)).await;
    send(world.request("DELETE", &path).bearer_auth(&token).json(&json!({"confirm": "two"}))).await;
    send(world.request("DELETE", &path).bearer_auth(&token)).await;
    let calls = world.fake.calls::<ActOnInstanceRequest>(&rpc("InstanceService/ActOnInstance"));
    let confirmed: Vec<_> =
        calls.iter().map(|call| (call.1.action.as_str(), call.1.confirm.as_deref())).collect();
    assert_eq!(confirmed, [("terminate", Some("one")), ("terminate", Some("two")), ("terminate", None)]);
}

/// INS-09, INS-32, INS-35, INS-37
#[tokio::test]
async fn the_smaller_routes_of_an_instance() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let id = Uuid::now_v7();
    world.fake.on(&rpc("InstanceService/CheckSubdomain"), |_: CheckSubdomainRequest| {
        Ok(CheckSubdomainResponse {
            reason: "reserved".into(),
            message: "api is reserved".into(),
            ..CheckSubdomainResponse::default()
        })
    });
    for path in ["/instance/api/v1/instances/check-subdomain/api", "/instance/instances/check-subdomain/api"]
    {
        let answer = world.get(path, &token).await;
        assert_eq!(
            answer.json(),
            json!({"subdomain": "api", "available": false, "reason": "reserved", "message": "api is reserved"})
        );
    }
    let operation = Uuid::now_v7();
    world.fake.on(&rpc("InstanceService/CancelOperation"), |request: CancelOperationRequest| {
        let operation =
            Operation { id: request.operation_id, state: "cancelled".into(), ..Operation::default() };
        Ok(CancelOperationResponse { operation: Some(operation) })
    });
    let path = format!("/instance/instances/{id}/operations/{operation}");
    let answer = send(world.request("DELETE", &path).bearer_auth(&token)).await;
    assert_eq!(
        (answer.status, &answer.json()["state"], &answer.json()["error"]),
        (202, &json!("cancelled"), &json!(null))
    );
    for (query, fields) in
        [("lines=0", vec!["lines"]), ("lines=1001", vec!["lines"]), ("previous=maybe", vec!["previous"])]
    {
        assert_eq!(
            world.get(&format!("/instance/instances/{id}/logs?{query}"), &token).await.fields(),
            fields
        );
    }
    world.get(&format!("/instance/instances/{id}/logs?lines=50&previous=true"), &token).await;
    let calls = world.fake.calls::<GetInstanceLogsRequest>(&rpc("InstanceService/GetInstanceLogs"));
    assert_eq!((calls[0].1.lines, calls[0].1.previous), (50, true));
    world.fake.on(&rpc("InstanceService/RevealCredentials"), |_: RevealCredentialsRequest| {
        Ok(RevealCredentialsResponse { admin_email: "a@b.c".into(), admin_password: "p".into() })
    });
    let reveal = format!("/instance/instances/{id}/credentials/reveal");
    let answer = send(world.request("POST", &reveal).bearer_auth(&token)).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
    world.fake.on(
        &rpc("InstanceService/RevealCredentials"),
        |_: RevealCredentialsRequest| -> Result<RevealCredentialsResponse, _> {
            Err(Refusal::new(Code::FailedPrecondition, "already_revealed", "shown before").into())
        },
    );
    assert_eq!(
        send(world.request("POST", &reveal).bearer_auth(&token)).await.problem(),
        (410, "already_revealed".into())
    );
}
