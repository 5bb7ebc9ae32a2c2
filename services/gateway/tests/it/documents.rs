//! The OpenAPI document and the pages (GTW-03, GTW-04).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::{World, send};

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

/// GTW-04
#[tokio::test]
async fn the_document_is_the_routes() {
    let world = World::start().await;
    let document = gateway::server::document(&world.app);
    let documented: BTreeSet<_> =
        operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let routed: BTreeSet<_> =
        gateway::server::table(&world.app).into_iter().map(|route| (route.method, route.path)).collect();
    assert_eq!(documented, routed);
}

/// GTW-04: access, errors and an example on each operation; ids are unique; no reference leads nowhere.
#[tokio::test]
async fn every_operation_is_whole() {
    let world = World::start().await;
    let document = gateway::server::document(&world.app);
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}: operationId");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name}: summary");
        assert!(operation["tags"][0].is_string(), "{name}: tag");
        let public = operation["x-access"] == "public";
        assert_eq!(operation["security"].as_array().unwrap().is_empty(), public, "{name}: security");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.as_str() >= "400"), "{name}: errors");
        for (status, response) in responses {
            if status == "204" {
                continue;
            }
            for (media, content) in
                response["content"].as_object().unwrap_or_else(|| panic!("{name} {status}"))
            {
                assert!(!content["example"].is_null(), "{name}: example of {status} {media}");
            }
        }
        if let Some(content) = operation["requestBody"]["content"].as_object() {
            for content in content.values() {
                assert!(content["example"].is_object(), "{name}: example of the body");
            }
        }
        for part in path.split('/').filter(|part| part.starts_with('{')) {
            let part = part.trim_matches(['{', '}']);
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|known| known["name"] == part), "{name}: {part}");
        }
    }
    for name in references(&document) {
        assert!(document["components"]["schemas"][&name].is_object(), "{name}");
    }
}

fn references(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields
                .get("$ref")
                .and_then(Value::as_str)
                .map(|path| path.rsplit('/').next().unwrap().to_owned());
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

/// GTW-04: a change of the API shows in review.
#[tokio::test]
async fn the_document_changes_only_on_purpose() {
    let world = World::start().await;
    let document = gateway::server::document(&world.app);
    insta::with_settings!({sort_maps => true}, { insta::assert_json_snapshot!("openapi", document) });
}

/// GTW-04: an RPC that a user can reach has its route.
#[tokio::test]
async fn every_method_for_users_is_called_by_a_route() {
    let handlers = [
        include_str!("../../src/session.rs"),
        include_str!("../../src/routes/health.rs"),
        include_str!("../../src/routes/user/auth.rs"),
        include_str!("../../src/routes/user/account.rs"),
        include_str!("../../src/routes/user/admin.rs"),
        include_str!("../../src/routes/instance/crud.rs"),
        include_str!("../../src/routes/instance/actions.rs"),
        include_str!("../../src/routes/instance/insight.rs"),
        include_str!("../../src/routes/instance/operations.rs"),
        include_str!("../../src/routes/instance/admin.rs"),
        include_str!("../../src/routes/instance/monitoring.rs"),
        include_str!("../../src/routes/database/moves.rs"),
        include_str!("../../src/routes/database/pools.rs"),
        include_str!("../../src/routes/database/rotations.rs"),
        include_str!("../../src/routes/database/tasks.rs"),
        include_str!("../../src/routes/database/allocations.rs"),
        include_str!("../../src/routes/billing.rs"),
        include_str!("../../src/routes/billing/money.rs"),
        include_str!("../../src/routes/billing/findings.rs"),
        include_str!("../../src/routes/billing/orders.rs"),
        include_str!("../../src/routes/billing/payments.rs"),
        include_str!("../../src/routes/billing/paynow.rs"),
        include_str!("../../src/routes/billing/pricing.rs"),
        include_str!("../../src/routes/billing/returned.rs"),
        include_str!("../../src/routes/billing/webhooks.rs"),
        include_str!("../../src/routes/notification.rs"),
    ]
    .concat();
    let protos = [
        ("user", &["AuthService", "AccountService", "UserAdminService"][..]),
        ("instance", &["InstanceService", "InstanceAdminService"]),
        (
            "billing",
            &[
                "CatalogService",
                "BillingService",
                "PaymentService",
                "BillingAdminService",
                "PricingAdminService",
                "AuditAdminService",
            ],
        ),
        ("database", &["DatabaseAdminService"]),
        ("notification", &["NotificationAdminService"]),
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/saasodoo");
    let mut methods = 0;
    for (name, services) in protos {
        let text = std::fs::read_to_string(root.join(format!("{name}/v1/{name}.proto"))).unwrap();
        let mut inside = false;
        for line in text.lines() {
            if let Some(service) = line.strip_prefix("service ") {
                inside = services.contains(&service.trim_end_matches(" {"));
            } else if inside && let Some(method) = line.trim().strip_prefix("rpc ") {
                let method = method.split('(').next().unwrap();
                let snake: String = method
                    .chars()
                    .flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] })
                    .collect();
                let call = format!(".{}(", snake.trim_start_matches('_'));
                assert!(handlers.contains(&call), "no route calls {name} {method}");
                methods += 1;
            }
        }
    }
    assert!(methods > 50, "{methods}");
}

/// GTW-03
#[tokio::test]
async fn the_documents_are_served_whole_and_by_prefix() {
    let world = World::start().await;
    let whole = send(world.request("GET", "/openapi.json")).await;
    assert_eq!(whole.json(), gateway::server::document(&world.app));
    assert!(whole.header("cache-control").contains("public"));
    for prefix in ["user", "billing", "instance", "database", "notification"] {
        let part = send(world.request("GET", &format!("/{prefix}/openapi.json"))).await.json();
        for path in part["paths"].as_object().unwrap().keys() {
            assert!(path.starts_with(&format!("/{prefix}/")), "{path}");
        }
        for name in references(&part) {
            assert!(part["components"]["schemas"][&name].is_object(), "{prefix}: {name}");
        }
        let page = send(world.request("GET", &format!("/{prefix}/docs"))).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
        for word in ["Authorization: Bearer", "<pre>", "problem"] {
            assert!(page.text.contains(word), "{prefix}: {word}");
        }
        let outside = ["<script", "<link", "src=", "@import", "url("];
        assert!(!outside.iter().any(|asset| page.text.contains(asset)), "{prefix}: an outside asset");
        assert!(page.header("content-security-policy").contains("style-src 'sha256-"));
    }
}

/// GTW-03: switched off, and off by itself in production.
#[tokio::test]
async fn the_documents_can_be_switched_off() {
    let world = World::start_with(|config| config.edge.docs_enabled = Some(false)).await;
    for path in ["/openapi.json", "/user/openapi.json", "/user/docs"] {
        assert_eq!(send(world.request("GET", path)).await.problem(), (404, "not_found".into()), "{path}");
    }
    let mut config = crate::world::config(&world.keys, "http://127.0.0.1:1");
    assert!(config.docs_enabled());
    config.common.environment = runtime::config::Environment::Production;
    assert!(!config.docs_enabled());
    config.edge.docs_enabled = Some(true);
    assert!(config.docs_enabled());
}

/// USR-07, USR-14, INS-37: links of mails lead to pages that send the token by hand only, and whose policy
/// allows their own script alone.
#[tokio::test]
async fn the_pages_of_mails_do_nothing_by_themselves() {
    let world = World::start().await;
    for path in [
        "/verify-email?token=abc",
        "/reset-password?token=abc",
        "/reveal?instance=0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11",
    ] {
        let page = send(world.request("GET", path)).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{path}");
        assert!(!page.text.contains("abc"), "nothing of the link stands in the page");
        assert_eq!(page.header("cache-control"), "no-store");
        let policy = page.header("content-security-policy");
        let script = page.text.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        assert!(policy.contains(&sha256(script)), "{path}: {policy}");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        assert!(page.text.contains("<html lang=\"en\">") && page.text.contains("role=\"status\""));
        assert!(!page.text.contains("http"), "{path}: an outside address");
    }
    let calls = world
        .fake
        .calls::<contracts::user::v1::VerifyEmailRequest>("saasodoo.user.v1.AuthService/VerifyEmail");
    assert!(calls.is_empty());
}

fn sha256(text: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text.as_bytes()))
}
