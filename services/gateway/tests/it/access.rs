//! Who may use which route (GTW-05, USR-22), and what ends a session's use (USR-11).

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
    match access {
        "public" => None,
        word => Some(if word == "super_admin" { Role::SuperAdmin } else { word.parse().unwrap() }),
    }
}

/// GTW-05, USR-22: every route × no token and every role. A route that nobody declared cannot be in the table, and one that is not in the table
/// does not exist.
#[tokio::test]
async fn every_route_lets_in_its_roles_and_nobody_else() {
    let world = World::start().await;
    let mut walked = 0;
    for route in gateway::app::table(&world.app) {
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

/// Part 0 of the API: what is public is listed here once more, so that a slip in the table shows.
#[tokio::test]
async fn nothing_else_is_public() {
    let world = World::start().await;
    let table = gateway::app::table(&world.app);
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

/// USR-11: the session, not the token, decides; an answer is kept for 3 s at most, and not at all after the gateway's own logout.
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
