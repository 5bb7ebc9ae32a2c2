//! Rate limits in real Redis (GTW-08), and without it (REL-07).

use std::time::Duration;

use gateway::config::Config;
use runtime::identity::Role;
use serde_json::json;
use uuid::Uuid;

use crate::world::{Answer, World, send};

fn login(email: &str) -> serde_json::Value {
    json!({"email": email, "password": "x"})
}

fn is_limited(answer: &Answer) -> bool {
    if answer.status != 429 {
        return false;
    }
    assert_eq!(answer.problem().1, "rate_limited");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    true
}

/// GTW-08: 200 quick calls of one account are too many; another account is free; health pages do not count.
#[tokio::test]
async fn an_account_has_its_burst() {
    let world = World::start_with(|config: &mut Config| {
        config.limits.rate_limit_per_minute = 600;
        config.limits.rate_limit_burst = 100;
    })
    .await;
    let user = Uuid::now_v7();
    let token = world.token_of(user, Role::Customer);
    // A second session of the same account shares its limit.
    let second = world.token_of(user, Role::Customer);
    let calls = (0..200).map(|at| {
        world.get("/billing/api/billing/trial-eligibility", if at % 2 == 0 { &token } else { &second })
    });
    let answers = futures::future::join_all(calls).await;
    let limited = answers.iter().filter(|answer| is_limited(answer)).count();
    assert!((20..=100).contains(&limited), "{limited}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 200 - limited);
    assert_eq!(
        world.get("/billing/api/billing/trial-eligibility", &world.token(Role::Customer)).await.status,
        200
    );
    for _ in 0..200 {
        assert_eq!(send(world.request("GET", "/health")).await.status, 200);
    }
}

/// GTW-08: the load of the guide, ten orders at once, passes.
#[tokio::test]
async fn ten_orders_at_once_pass() {
    let world = World::start_with(|config: &mut Config| {
        config.limits.rate_limit_per_minute = 600;
        config.limits.rate_limit_burst = 100;
    })
    .await;
    let token = world.token(Role::Customer);
    let body = json!({"name": "load-test"});
    let answers =
        futures::future::join_all((0..10).map(|_| world.post("/instance/instances", &token, &body))).await;
    assert!(answers.iter().all(|answer| answer.status != 429));
}

/// GTW-08: time gives requests back.
#[tokio::test]
async fn a_limit_passes_with_time() {
    let world = World::start_with(|config: &mut Config| {
        config.limits.rate_limit_per_minute = 120;
        config.limits.rate_limit_burst = 1;
    })
    .await;
    let token = world.token(Role::Customer);
    let path = "/billing/api/billing/trial-eligibility";
    assert_eq!(world.get(path, &token).await.status, 200);
    assert!(is_limited(&world.get(path, &token).await));
    test_kit::eventually("half a second gives one request back", Duration::from_secs(5), || async {
        Some(world.get(path, &token).await).filter(|answer| answer.status == 200)
    })
    .await;
}

/// GTW-08, GTW-10: an address without a token; what it says of itself does not help it.
#[tokio::test]
async fn an_address_is_limited_whatever_it_says() {
    let world =
        World::start_with(|config: &mut Config| config.limits.rate_limit_anonymous_per_minute = 5).await;
    let mut answers = Vec::new();
    for at in 0..12 {
        let request = world.request("GET", "/billing/api/billing/plans");
        answers.push(send(request.header("x-forwarded-for", format!("198.51.100.{at}"))).await);
    }
    assert!(answers[..5].iter().all(|answer| answer.status == 200), "{answers:?}");
    assert!(answers[6..].iter().all(is_limited), "{answers:?}");
    let bad_token = world.get("/user/auth/me", "no token").await;
    assert!(is_limited(&bad_token), "a bad token is no token");
}

/// GTW-10: behind a trusted proxy each client counts for itself.
#[tokio::test]
async fn clients_behind_the_proxy_are_told_apart() {
    let world = World::start_with(|config: &mut Config| {
        config.limits.rate_limit_anonymous_per_minute = 5;
        config.edge.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    for at in 0..12 {
        let request = world.request("GET", "/billing/api/billing/plans");
        let answer = send(request.header("x-forwarded-for", format!("6.6.6.6, 198.51.100.{at}"))).await;
        assert_eq!(answer.status, 200);
    }
}

/// GTW-08: `/user/auth` by address, and by the account in the body: from one address, and with a far higher
/// ceiling from all of them, so that a stranger cannot use up what the owner has.
#[tokio::test]
async fn signing_in_is_limited_by_address_and_by_account() {
    let world = World::start_with(|config: &mut Config| {
        config.limits.rate_limit_auth_per_minute = 10;
        config.edge.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let from = |address: String, email: String| {
        let request = world.request("POST", "/user/auth/login").header("x-forwarded-for", address);
        send(request.json(&login(&email)))
    };
    let mut limited = 0;
    for at in 0..15 {
        limited += usize::from(is_limited(&from("198.51.100.1".into(), format!("{at}@example.com")).await));
    }
    assert!((4..=5).contains(&limited), "one address: {limited}");
    for at in 0..30 {
        let email = if at % 2 == 0 { "Victim@example.com" } else { " victim@example.com" };
        let answer = from(format!("203.0.113.{at}"), email.into()).await;
        assert!(!is_limited(&answer), "somebody else's tries closed an account");
    }

    let world = World::start_with(|config: &mut Config| {
        config.limits.rate_limit_auth_per_minute = 1;
        config.edge.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let mut limited = 0;
    for at in 0..30 {
        let request = world.request("POST", "/user/auth/login");
        let request = request.header("x-forwarded-for", format!("203.0.113.{at}"));
        limited += usize::from(is_limited(&send(request.json(&login("victim@example.com"))).await));
    }
    assert!((1..=10).contains(&limited), "one account from everywhere: {limited}");
}

/// GTW-08, REL-07: without Redis signing in is closed, all else is open.
#[tokio::test]
async fn without_redis_signing_in_is_closed_and_the_rest_open() {
    let world = World::start_on("redis://127.0.0.1:1", |_| {}).await;
    let answer = world.post_public("/user/auth/login", &login("ada@example.com")).await;
    assert_eq!(answer.problem(), (503, "unavailable".into()));
    assert!(!answer.header("retry-after").is_empty());
    let token = world.token(Role::Customer);
    assert_eq!(world.get("/instance/instances", &token).await.status, 200);
    assert_eq!(send(world.request("GET", "/billing/api/billing/plans")).await.status, 200);
    let start = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(world.get("/instance/instances", &token).await.status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(3), "its absence costs no patience: {:?}", start.elapsed());
}

/// SEC-04: no address of a person stands in Redis.
#[tokio::test]
async fn counters_hold_no_personal_data() {
    let mut prefix = String::new();
    let world = World::start_with(|config: &mut Config| {
        config.limits.rate_limit_auth_per_minute = 10;
        prefix.clone_from(&config.limits.rate_limit_key_prefix);
    })
    .await;
    world.post_public("/user/auth/login", &login("ada.lovelace@example.com")).await;
    let client = redis::Client::open(test_kit::environment::redis_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{prefix}:*")).query_async(&mut connection).await.unwrap();
    assert!(keys.iter().any(|key| key.contains(":auth-account:")), "{keys:?}");
    assert!(keys.iter().all(|key| !key.contains("ada")), "{keys:?}");
    for key in keys {
        let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
        assert!(left <= 60_001, "{key} stays for {left} ms");
    }
}
