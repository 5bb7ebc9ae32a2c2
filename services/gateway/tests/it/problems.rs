//! Errors (GTW-06), bodies that are refused (part 0 of the API), identity towards the services.

use contracts::instance::v1::{
    ActOnInstanceRequest, CreateInstanceRequest, GetInstanceRequest, GetInstanceResponse, Instance,
};
use runtime::grpc::Refusal;
use runtime::identity::Role;
use serde_json::json;
use tonic::Code;
use uuid::Uuid;

use crate::world::{World, send};

const CREATE: &str = "saasodoo.instance.v1.InstanceService/CreateInstance";
const GET: &str = "saasodoo.instance.v1.InstanceService/GetInstance";

/// GTW-01, GTW-06
#[tokio::test]
async fn an_unknown_path_and_a_wrong_method_are_problems() {
    let world = World::start().await;
    for path in [
        "/",
        "/nothing-here",
        "/user",
        "/user/users/internal/1",
        "/instance/instances/x/y/z",
        "/metrics",
        "/health/ready",
    ] {
        assert_eq!(send(world.request("GET", path)).await.problem(), (404, "not_found".into()), "{path}");
    }
    let answer = send(world.request("DELETE", "/user/auth/login")).await;
    assert_eq!(answer.problem(), (405, "method_not_allowed".into()));
    assert!(answer.header("allow").contains("POST"));
}

/// GTW-06: a refusal of a service keeps its reason, its fields and its time to retry after.
#[tokio::test]
async fn a_refusal_of_a_service_arrives_whole() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let path = format!("/instance/instances/{}", Uuid::now_v7());
    for (refusal, status) in [
        (Refusal::not_found("instance"), 404),
        (Refusal::invalid("subdomain", "is reserved"), 422),
        (Refusal::new(Code::FailedPrecondition, "payment_required", "payment is due"), 402),
        (Refusal::new(Code::FailedPrecondition, "quota_exceeded", "20 instances at most"), 409),
        (Refusal::new(Code::Aborted, "version_mismatch", "changed meanwhile"), 412),
        (Refusal::new(Code::FailedPrecondition, "expired", "too late"), 410),
        (Refusal::unavailable("billing-service does not answer"), 503),
        (Refusal::new(Code::Unimplemented, "not_implemented", "not yet"), 501),
    ] {
        let given = refusal.clone();
        world.fake.on(GET, move |_: GetInstanceRequest| -> Result<GetInstanceResponse, _> {
            Err(given.clone().into())
        });
        let answer = world.get(&path, &token).await;
        assert_eq!(answer.problem(), (status, refusal.reason.clone()));
        assert_eq!(answer.json()["detail"], refusal.message);
        assert_eq!(
            answer.fields(),
            refusal.fields.iter().map(|field| field.field.clone()).collect::<Vec<_>>()
        );
        assert_eq!(answer.header("retry-after"), if status == 503 { "5" } else { "" });
    }
    let secret = tonic::Status::internal("password authentication failed for user instance_service");
    world
        .fake
        .on(GET, move |_: GetInstanceRequest| -> Result<GetInstanceResponse, _> { Err(secret.clone()) });
    let answer = world.get(&path, &token).await;
    assert_eq!(answer.problem(), (500, "internal".into()));
    assert!(!answer.text.contains("instance_service"));
}

/// REL-07: a service that is away is 503 with a time to retry after, and no host name.
#[tokio::test]
async fn a_service_that_is_away_is_503() {
    let world =
        World::start_with(|config| config.services.instance_service_url = "http://127.0.0.1:1".into()).await;
    let answer = world.get("/instance/instances", &world.token(Role::Customer)).await;
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert!(!answer.header("retry-after").is_empty() && !answer.text.contains("127.0.0.1"), "{answer:?}");
}

/// Part 0 and 2.1 of the API, INS-05, INS-17, INS-39, SEC-09, USR-18: unknown fields are refused by name and
/// go nowhere.
#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let world = World::start().await;
    let token = world.token(Role::Admin);
    let one = format!("/instance/instances/{}", Uuid::now_v7());
    for field in [
        "admin_password",
        "billing_status",
        "provisioning_status",
        "db_type",
        "environment_vars",
        "custom_addons",
        "disabled_modules",
        "card_number",
        "ODOO_DATABASE_HOST",
    ] {
        let answer =
            world.post("/instance/instances", &token, &json!({"name": "x", field: "4111111111111111"})).await;
        assert_eq!((answer.problem().0, answer.fields()), (422, vec![field.to_owned()]));
        assert!(!answer.text.contains("4111"), "{answer:?}");
    }
    for (method, path, body, field) in [
        ("PATCH", one.as_str(), json!({"billing_status": "paid"}), "billing_status"),
        ("PUT", one.as_str(), json!({"subdomain": "other"}), "subdomain"),
        ("PUT", "/user/users/profile", json!({"role": "admin"}), "role"),
        (
            "POST",
            "/user/auth/login",
            json!({"email": "a@b.c", "password": "x", "card_number": "4111"}),
            "card_number",
        ),
        (
            "PUT",
            "/user/users/preferences",
            json!({"notifications": {"security": false}}),
            "notifications.security",
        ),
        ("POST", &format!("{one}/stop"), json!({"force": true}), "force"),
    ] {
        let answer = send(world.request(method, path).bearer_auth(&token).json(&body)).await;
        assert_eq!(
            (answer.problem(), answer.fields()),
            ((422, "validation_failed".into()), vec![field.to_owned()]),
            "{method} {path}"
        );
    }
    assert!(world.fake.calls::<CreateInstanceRequest>(CREATE).is_empty());
}

/// Part 0 of the API: malformed JSON 400, another content type 415, too large 413, too large headers 431.
#[tokio::test]
async fn what_is_no_good_json_is_refused() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let post = |kind: &str, body: String| {
        world
            .request("POST", "/instance/instances")
            .bearer_auth(&token)
            .header("content-type", kind)
            .body(body)
    };
    let json = "application/json";
    assert_eq!(send(post(json, "{".into())).await.problem(), (400, "malformed_json".into()));
    assert_eq!(send(post(json, String::new())).await.problem(), (400, "malformed_json".into()));
    assert_eq!(send(post("text/plain", "{}".into())).await.problem(), (415, "unsupported_media_type".into()));
    assert_eq!(send(post("application/json; charset=utf-8", "{}".into())).await.fields(), ["name"]);
    let two_mib = format!("{{\"name\":\"{}\"}}", "x".repeat(2 * 1024 * 1024));
    assert_eq!(send(post(json, two_mib)).await.problem(), (413, "payload_too_large".into()));
    let large = world.request("GET", "/health").header("x-long", "x".repeat(20_000));
    assert_eq!(send(large).await.problem(), (431, "headers_too_large".into()));
}

/// GTW-11: a body of unknown length is cut at the limit, too.
#[tokio::test]
async fn a_chunked_body_has_the_same_limit() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let address = world.url.trim_start_matches("http://");
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /instance/instances HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 64 * 1024, "x".repeat(64 * 1024));
    for _ in 0..20 {
        if socket.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = vec![0; 64];
    let read = socket.read(&mut answer).await.unwrap();
    let line = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(line.starts_with("HTTP/1.1 413"), "{line}");
}

/// INS-18: an action takes an empty body, with or without a content type.
#[tokio::test]
async fn an_action_needs_no_body() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let path = format!("/instance/instances/{}/stop", Uuid::now_v7());
    let bare = world.request("POST", &path).bearer_auth(&token);
    assert_eq!(send(bare).await.status, 200);
    let typed = world.request("POST", &path).bearer_auth(&token).header("content-type", "application/json");
    assert_eq!(send(typed).await.status, 200);
    assert_eq!(world.post(&path, &token, &json!({})).await.status, 200);
    let text = world.request("POST", &path).bearer_auth(&token).body("stop it");
    assert_eq!(send(text).await.status, 415);
    let calls =
        world.fake.calls::<ActOnInstanceRequest>("saasodoo.instance.v1.InstanceService/ActOnInstance");
    assert_eq!(calls.len(), 3);
}

/// SEC-01, GTW-12, GTW-16: the user's own token, the request id and the address go with the call; the gateway
/// signs for itself.
#[tokio::test]
async fn a_call_carries_user_request_and_service() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let id = Uuid::now_v7();
    world.fake.on(GET, |request: GetInstanceRequest| {
        Ok(GetInstanceResponse {
            instance: Some(Instance { id: request.instance_id, ..Instance::default() }),
        })
    });
    let request = world.request("GET", &format!("/instance/instances/{id}")).bearer_auth(&token);
    let answer = send(request.header("x-request-id", id.to_string())).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, id.to_string().as_str()));
    let (metadata, message) = world.fake.calls::<GetInstanceRequest>(GET).pop().unwrap();
    assert_eq!(message.instance_id, id.to_string());
    assert_eq!(metadata["authorization"], format!("Bearer {token}"));
    assert_eq!(metadata["x-request-id"], id.to_string());
    assert_eq!(metadata["x-client-ip"], "127.0.0.1");
    let service = metadata["x-service-token"].to_str().unwrap();
    assert_eq!(world.keys.service_keys("instance-service").verify(service).as_deref(), Some("gateway"));
    assert!(metadata.contains_key("grpc-timeout"));
}

/// INS-15: what is no id names nothing.
#[tokio::test]
async fn a_path_that_is_no_id_is_404() {
    let world = World::start().await;
    let answer = world.get("/instance/instances/1;drop", &world.token(Role::Customer)).await;
    assert_eq!(answer.problem(), (404, "not_found".into()));
}
