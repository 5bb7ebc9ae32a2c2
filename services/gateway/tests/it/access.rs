//! Who may use which route (GTW-05, USR-22), and what ends a session's use (USR-11).

use contracts::instance::v1::ActOnInstanceRequest;
use contracts::services::{AUTOMATION, BILLING, GATEWAY, INSTANCE};
use runtime::identity::Role;
use serde_json::json;
use uuid::Uuid;

use crate::world::{World, send, session_of};

/// A path with values in the places of its parameters.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{customer_id}" => "me".to_owned(),
        part if part.starts_with('{') => Uuid::now_v7().to_string(),
        part => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

fn minimum(access: &str) -> Option<Role> {
    match access.trim_end_matches("/service") {
        "public" => None,
        word => Some(if word == "super_admin" { Role::SuperAdmin } else { word.parse().unwrap() }),
    }
}

/// GTW-05, USR-22: every route × no token and every role. A route that nobody declared cannot be in the
/// table, and one that is not in the table does not exist.
#[tokio::test]
async fn every_route_lets_in_its_roles_and_nobody_else() {
    let world = World::start().await;
    let mut walked = 0;
    for route in gateway::server::table(&world.app) {
        let path = filled(&route.path);
        let minimum = minimum(route.access);
        let bare = send(world.request(&route.method, &path)).await;
        let name = format!("{} {}", route.method, route.path);
        assert_eq!(bare.status == 401, minimum.is_some(), "{name} without a token: {bare:?}");
        for role in Role::ALL {
            let answer = send(world.request(&route.method, &path).bearer_auth(world.token(role))).await;
            let allowed = minimum.is_none_or(|minimum| role >= minimum);
            if allowed {
                let closed = matches!(answer.status, 401 | 403 | 404 | 405);
                assert!(!closed, "{name} as {role}: {answer:?}");
            } else {
                assert_eq!(answer.problem(), (403, "forbidden".into()), "{name} as {role}");
            }
            walked += 1;
        }
    }
    assert!(walked > 500, "{walked}");
}

/// GTW-05, SEC-02: every route × the token of every service, and tokens that are none. A service's token
/// opens what says so, as a header and as the bearer, and nothing else.
#[tokio::test]
async fn a_service_opens_the_routes_of_services_and_no_other() {
    let world = World::start().await;
    let names = contracts::services::ALL.iter().chain([&AUTOMATION]);
    let good: Vec<_> = names.map(|name| world.keys.service_token(name, GATEWAY, 300)).collect();
    let bad = [
        ("over", world.keys.service_token(BILLING, GATEWAY, -120)),
        ("for another service", world.keys.service_token(BILLING, INSTANCE, 300)),
        ("of nobody", world.keys.service_token("nobody", GATEWAY, 300)),
        ("forged", test_kit::identity::Keyring::new().service_token(BILLING, GATEWAY, 300)),
    ];
    let table = gateway::server::table(&world.app);
    let mut open = 0;
    for route in table.iter().filter(|route| route.access != "public") {
        let path = filled(&route.path);
        let name = format!("{} {}", route.method, route.path);
        let takes = route.access.ends_with("/service");
        open += usize::from(takes);
        // One route of each service's name is enough where all are treated alike: at the closed door.
        for token in if takes { &good[..] } else { &good[..1] } {
            let answer = send(world.request(&route.method, &path).header("X-Service-Token", token)).await;
            if takes {
                assert!(!matches!(answer.status, 401 | 403 | 404 | 405), "{name}: {answer:?}");
            } else {
                assert_eq!(answer.problem(), (403, "forbidden".into()), "{name}");
            }
        }
        let bearer = send(world.request(&route.method, &path).bearer_auth(&good[0])).await;
        assert_eq!(bearer.status == 403, !takes, "{name} by the bearer: {bearer:?}");
        for (what, token) in &bad {
            let answer = send(world.request(&route.method, &path).header("X-Service-Token", token)).await;
            assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{name} {what}");
            let answer = send(world.request(&route.method, &path).bearer_auth(token)).await;
            assert_eq!(answer.problem(), (401, "unauthenticated".into()), "{name} {what}, as the bearer");
        }
    }
    assert!(open > 30, "{open}");
}

/// SEC-02: the called service gets the token itself, not the gateway's word; a service has no more actions by
/// name than by their routes.
#[tokio::test]
async fn what_a_service_asks_goes_on_in_its_name() {
    let world = World::start().await;
    let token = world.keys.service_token(AUTOMATION, GATEWAY, 300);
    let (id, method) = (Uuid::now_v7(), "saasodoo.instance.v1.InstanceService/ActOnInstance");
    let ask = |action: &str| {
        let body = json!({"action": action, "parameters": {"reason": "asked for by a script"}});
        let request = world.request("POST", &format!("/instance/instances/{id}/actions"));
        send(request.header("X-Service-Token", &token).json(&body))
    };
    for refused in ["start", "stop", "restart"] {
        assert_eq!(ask(refused).await.problem(), (403, "forbidden".into()), "{refused}");
    }
    assert_eq!(ask("suspend").await.status, 200);

    let calls = world.fake.calls::<ActOnInstanceRequest>(method);
    let [(headers, message)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(message.action, "suspend");
    assert_eq!(headers.get("x-origin-token").unwrap(), token.as_str());
    assert!(headers.get("authorization").is_none());
    let keys = world.keys.service_keys(INSTANCE);
    assert_eq!(keys.verify(headers["x-service-token"].to_str().unwrap()).as_deref(), Some(GATEWAY));
}

/// Part 0 of the API: what is public is listed here once more, so that a slip in the table shows.
#[tokio::test]
async fn nothing_else_is_public() {
    let world = World::start().await;
    let table = gateway::server::table(&world.app);
    let mut public: Vec<_> = table.iter().filter(|route| route.access == "public").collect();
    public.sort_by(|one, other| (&one.path, &one.method).cmp(&(&other.path, &other.method)));
    let public: Vec<String> = public.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    insta::assert_yaml_snapshot!(public);
}

/// SEC-10
#[tokio::test]
async fn a_token_that_is_not_ours_is_no_token() {
    let world = World::start().await;
    let stranger = test_kit::identity::Keyring::new();
    let mut settings = stranger.users.clone();
    settings.jwt_secret_key = Some("another-secret-another-secret-another-00".to_owned().into());
    let stranger = test_kit::identity::Keyring { users: settings, ..stranger };
    let forged = stranger.user_token(Uuid::now_v7(), Role::SuperAdmin);
    for token in [forged.as_str(), "x", "eyJhbGciOiJub25lIn0.e30."] {
        let answer = world.get("/user/auth/me", token).await;
        assert_eq!(answer.problem(), (401, "unauthenticated".into()));
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
}

/// USR-11: the session, not the token, decides; an answer is kept for 3 s at most, and not at all after the
/// gateway's own logout.
#[tokio::test]
async fn a_revoked_session_is_useless_within_five_seconds() {
    let world = World::start().await;
    let token = world.token(Role::Customer);
    assert_eq!(world.get("/user/auth/sessions", &token).await.status, 200);

    world.fake.sign_out(&session_of(&token));

    let within = std::time::Duration::from_secs(5);
    let refused = test_kit::eventually("the session is over", within, || async {
        Some(world.get("/user/auth/sessions", &token).await).filter(|answer| answer.status == 401)
    });
    assert_eq!(refused.await.problem().1, "unauthenticated");
    let token = world.token(Role::Customer);
    assert_eq!(world.post("/user/auth/logout", &token, &json!({})).await.status, 200);
    world.fake.sign_out(&session_of(&token));
    assert_eq!(world.get("/user/auth/sessions", &token).await.status, 401);
}

/// USR-11, REL-07: many requests at once make one question; the role is that of now.
#[tokio::test]
async fn the_role_is_that_of_the_session_and_asked_once() {
    let world = World::start().await;
    let token = world.token(Role::Admin);
    world.fake.sign_in(&session_of(&token), Role::Customer);
    let asked = (0..20).map(|_| world.get("/user/admin/customers", &token));
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.status, 403);
    }
    let calls = world
        .fake
        .calls::<contracts::user::v1::CheckSessionRequest>("saasodoo.user.v1.AuthService/CheckSession");
    assert_eq!(calls.len(), 1);
}

/// REL-07: nobody is let in on trust.
#[tokio::test]
async fn without_user_service_nobody_is_signed_in() {
    let world =
        World::start_with(|config| config.services.user_service_url = "http://127.0.0.1:1".into()).await;
    let answer = world.get("/instance/instances", &world.token(Role::SuperAdmin)).await;
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert!(!answer.header("retry-after").is_empty());
}
