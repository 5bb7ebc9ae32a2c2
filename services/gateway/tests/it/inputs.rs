//! Texts that no service can store or nobody can read are refused on every route, in bodies, queries and
//! paths; so are unknown parameters and words that a filter does not know.

use runtime::identity::Role;
use serde_json::{Value, json};

use crate::world::{Answer, World, send};

/// U+0000, a control character, an override of the direction, a line separator; the last one is half a pair
/// and exists in JSON only.
const BAD: [&str; 4] = ["a\0b", "a\u{85}b", "a\u{202e}b", "a\u{2028}b"];

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

/// A path whose ids are ids.
fn filled(path: &str, text: &str) -> String {
    let mut filled = path.to_owned();
    for part in path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        filled = filled.replace(&format!("{{{part}}}"), text);
    }
    filled
}

fn escaped(text: &str) -> String {
    let digit = |number: u8| char::from(b"0123456789ABCDEF"[usize::from(number)]);
    text.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A JSON value with one text replaced at each place that has one.
fn spoilt(value: &Value, bad: &str) -> Vec<Value> {
    match value {
        Value::String(_) => vec![json!(bad)],
        Value::Array(items) => items
            .first()
            .map(|item| spoilt(item, bad))
            .unwrap_or_default()
            .into_iter()
            .map(|item| json!([item]))
            .collect(),
        Value::Object(fields) => {
            let one = |(name, field): (&String, &Value)| {
                let variants = spoilt(field, bad).into_iter().map(|spoilt| {
                    let mut whole = fields.clone();
                    whole.insert(name.clone(), spoilt);
                    Value::Object(whole)
                });
                variants.collect::<Vec<_>>()
            };
            fields.iter().flat_map(one).collect()
        }
        _ => Vec::new(),
    }
}

fn check(answer: &Answer, name: &str) {
    assert_eq!(answer.status, 422, "{name}: {answer:?}");
    let text = answer.text.chars().any(|c| BAD.iter().any(|bad| bad.chars().nth(1) == Some(c)));
    assert!(!text && !answer.text.contains("\\u00"), "{name} repeats it: {answer:?}");
}

/// SEC-09: never a 5xx, and nothing of it reaches a service.
#[tokio::test]
async fn no_route_takes_a_text_that_cannot_be_stored_or_read() {
    let world = World::start().await;
    let token = world.token(Role::SuperAdmin);
    let id = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11";
    let (mut bodies, mut queries, mut paths) = (0, 0, 0);
    for (at, (method, path, operation)) in
        operations(&gateway::server::document(&world.app)).into_iter().enumerate()
    {
        let name = format!("{method} {path}");
        let bad = BAD[at % BAD.len()];
        let ask = |path: String| world.request(&method, &path).bearer_auth(&token);
        let answered_later = operation["responses"].get("501").is_some();
        if path.contains('{') && method != "HEAD" {
            check(&send(ask(filled(&path, &escaped(bad)))).await, &name);
            paths += 1;
        }
        let good = filled(&path, id);
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" {
                let query = format!("{good}?{}={}", parameter["name"].as_str().unwrap(), escaped(bad));
                check(&send(ask(query)).await, &name);
                queries += 1;
            }
        }
        let example = &operation["requestBody"]["content"]["application/json"]["example"];
        if answered_later || path.contains("/webhooks/") {
            continue;
        }
        for body in spoilt(example, bad) {
            check(&send(ask(good.clone()).json(&body)).await, &name);
            bodies += 1;
        }
        if let Some(body) = spoilt(example, "HALF").first() {
            let half = body.to_string().replace("HALF", "\\ud800");
            check(
                &send(ask(good.clone()).header("content-type", "application/json").body(half)).await,
                &name,
            );
        }
    }
    assert!(bodies > 50 && queries > 50 && paths > 50, "{bodies} {queries} {paths}");
}

/// A typing mistake in a filter must not show the whole list.
#[tokio::test]
async fn unknown_parameters_and_words_are_refused_with_those_that_there_are() {
    let world = World::start().await;
    let token = world.token(Role::SuperAdmin);
    for (path, field, words) in [
        ("/instance/instances?foo=1", "foo", "which takes page, page_size, status, q, sort, customer_id"),
        ("/instance/api/v1/instances?foo=1", "foo", "status"),
        ("/instance/instances?status=bogus", "status", "live, pending_payment, creating"),
        ("/instance/instances?status=running&status=bogus", "status", "or purged"),
        ("/billing/api/billing/invoices?status=opn", "status", "open, paid, void or written_off"),
        ("/database/api/database/admin/pools?server_type=x", "server_type", "platform, shared or dedicated"),
        ("/billing/api/billing/plans?x=1", "x", "which takes none"),
    ] {
        let answer = world.get(path, &token).await;
        assert_eq!(
            (answer.problem(), answer.fields()),
            ((422, "validation_failed".into()), vec![field.to_owned()])
        );
        assert!(answer.text.contains(words), "{path}: {answer:?}");
    }
    let paths = [
        "/instance/instances?status=running&status=stopped&q=a",
        "/instance/instances?status=live",
        "/instance/instances?status=",
    ];
    for path in paths {
        assert_eq!(world.get(path, &token).await.status, 200, "{path}");
    }
    // Pages that links and payment providers lead to may come with more.
    for path in ["/verify-email?token=x&utm_source=mail", "/billing/payment-status?payment=x&ref=1"] {
        assert_ne!(send(world.request("GET", path)).await.status, 422, "{path}");
    }
}

/// Mistakes are answered with the way out of them.
#[tokio::test]
async fn errors_say_what_to_do() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    let bare = send(world.request("GET", "/instance/instances")).await;
    let wrong = send(world.request("GET", "/instance/instances").header("authorization", &token)).await;
    let broken = send(world.request("GET", "/instance/instances").bearer_auth("nonsense")).await;
    for (answer, words) in
        [(bare, "no access token was sent"), (wrong, "must be `Bearer"), (broken, "has expired")]
    {
        assert_eq!(answer.problem(), (401, "unauthenticated".into()));
        assert!(answer.text.contains(words), "{answer:?}");
    }
    let method = send(world.request("DELETE", "/user/auth/login")).await;
    assert!(method.text.contains("use POST"), "{method:?}");
    let typo = world.post("/instance/instances", &token, &json!({"name": "x", "odoo": "19"})).await;
    assert!(typo.text.contains("did you mean odoo_version?"), "{typo:?}");
    let empty =
        send(world.request("POST", "/user/auth/login").header("content-type", "application/json")).await;
    assert!(empty.text.contains("the body is empty"), "{empty:?}");
}

/// SEC-02: the session of a token must be its account's, whoever signed it.
#[tokio::test]
async fn a_token_with_somebody_elses_session_is_none() {
    use contracts::user::v1::{CheckSessionRequest, CheckSessionResponse};
    let world = World::start().await;
    let (owner, thief) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    world.fake.on("saasodoo.user.v1.AuthService/CheckSession", move |_: CheckSessionRequest| {
        Ok(CheckSessionResponse { live: true, role: "customer".into(), customer_id: owner.to_string() })
    });
    let answer = world.get("/instance/instances", &world.token_of(thief, Role::Customer)).await;
    assert_eq!(answer.problem(), (401, "unauthenticated".into()));
    assert_eq!(world.get("/instance/instances", &world.token_of(owner, Role::Customer)).await.status, 200);
}
