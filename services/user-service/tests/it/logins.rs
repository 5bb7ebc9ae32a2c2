//! Log-in and the brute-force guard.

use std::time::Duration;

use runtime::grpc::Refusal;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;
use user_service::config::Rules;

use crate::world::{PASSWORD, World, fields, reason, rules};

/// USR-09: what is wrong is not told; state is told only to who knows the password.
#[sqlx::test(migrations = "./migrations")]
async fn a_failed_login_does_not_tell_what_was_wrong(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let wrong_password = world.login(&person.email, "Wrong-Horse-7").await.unwrap_err();
    let unknown = world.login("nobody@example.com", PASSWORD).await.unwrap_err();
    let no_address = world.login("x", PASSWORD).await.unwrap_err();
    for refused in [&wrong_password, &unknown, &no_address] {
        assert_eq!(
            (refused.code(), reason(refused).as_str()),
            (Code::Unauthenticated, "invalid_credentials")
        );
        assert_eq!(refused.message(), wrong_password.message());
        assert_eq!(refused.details(), wrong_password.details());
    }

    world.run("UPDATE users SET verified_at = NULL WHERE id = $1", person.id).await;
    let unverified = world.login(&person.email, PASSWORD).await.unwrap_err();
    assert_eq!(
        (unverified.code(), reason(&unverified).as_str()),
        (Code::PermissionDenied, "email_not_verified")
    );
    assert_eq!(
        reason(&world.login(&person.email, "Wrong-Horse-7").await.unwrap_err()),
        "invalid_credentials"
    );

    world.run("UPDATE users SET verified_at = now(), is_active = false WHERE id = $1", person.id).await;
    assert_eq!(reason(&world.login(&person.email, PASSWORD).await.unwrap_err()), "account_disabled");
    assert_eq!(
        reason(&world.login(&person.email, "Wrong-Horse-7").await.unwrap_err()),
        "invalid_credentials"
    );
}

/// USR-10
#[sqlx::test(migrations = "./migrations")]
async fn a_login_gives_a_bearer_token_and_a_refresh_token(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Admin).await;
    let answer = world.login(&person.email.to_uppercase(), PASSWORD).await.unwrap();
    let (customer, tokens) = (answer.customer.unwrap(), answer.tokens.unwrap());
    assert_eq!(
        (customer.id, customer.role.as_str(), customer.is_verified),
        (person.id.to_string(), "admin", true)
    );
    let user = world.server.keys.user_verifier().verify(&tokens.access_token).unwrap();
    assert_eq!((user.id, user.role), (person.id, Role::Admin));
    let now = runtime::clock::now().unix_timestamp();
    let access_life = tokens.expires_at.unwrap().seconds - now;
    let refresh_life = tokens.refresh_expires_at.unwrap().seconds - now;
    assert!((3590..=3600).contains(&access_life), "{access_life}");
    assert!((7 * 86400 - 10..=7 * 86400).contains(&refresh_life), "{refresh_life}");
    let stored: i64 =
        sqlx::query_scalar("SELECT count(*) FROM refresh_tokens WHERE token_hash = sha256($1::bytea)")
            .bind(tokens.refresh_token.as_bytes())
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(stored, 1, "stored hashed");
}

/// USR-10: 30 days for who stays signed in.
#[sqlx::test(migrations = "./migrations")]
async fn remember_me_lasts_thirty_days(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let body = contracts::user::v1::LoginRequest {
        email: person.email.clone(),
        password: PASSWORD.into(),
        remember_me: true,
        user_agent: "a".repeat(1000),
    };
    let tokens = world.auth().login(body).await.unwrap().into_inner().tokens.unwrap();
    let life = tokens.refresh_expires_at.unwrap().seconds - runtime::clock::now().unix_timestamp();
    assert!((30 * 86400 - 10..=30 * 86400).contains(&life), "{life}");
}

/// USR-04: a hash of less work is replaced when its owner signs in.
#[sqlx::test(migrations = "./migrations")]
async fn an_old_hash_is_renewed_at_login(pool: PgPool) {
    use user_service::passwords::{Cost, Passwords};
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let old = Passwords::try_new(Cost { memory_kib: 32, passes: 1 }).unwrap().hash(PASSWORD).await.unwrap();
    sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1")
        .bind(person.id)
        .bind(&old)
        .execute(&pool)
        .await
        .unwrap();
    world.login(&person.email, PASSWORD).await.unwrap();
    let stored: String = sqlx::query_scalar("SELECT password_hash FROM users WHERE id = $1")
        .bind(person.id)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert!(stored.contains("m=64,t=1"), "{stored}");
    world.login(&person.email, PASSWORD).await.unwrap();
}

/// USR-16: five failures, then the door is closed, also for the right password; the owner is told once.
#[sqlx::test(migrations = "./migrations")]
async fn the_sixth_bad_login_is_refused_and_the_owner_gets_one_mail(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    for _ in 0..5 {
        let refused = world.login(&person.email, "Wrong-Horse-7").await.unwrap_err();
        assert_eq!(reason(&refused), "invalid_credentials");
    }
    for password in ["Wrong-Horse-7", PASSWORD] {
        let blocked = world.login_from("203.0.113.9", &person.email, password).await.unwrap_err();
        assert_eq!((blocked.code(), reason(&blocked).as_str()), (Code::ResourceExhausted, "rate_limited"));
        let wait = Refusal::from_status(&blocked).retry_after.unwrap();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "{wait:?}");
    }
    let events = world.events(person.id).await;
    assert_eq!(events.iter().filter(|topic| *topic == "customer.login_blocked.v1").count(), 1);
    assert!(world.is_live(&person.access).await, "sessions stay");
}

/// USR-16: whether the address has an account makes no difference.
#[sqlx::test(migrations = "./migrations")]
async fn an_unknown_address_is_blocked_like_a_known_one(pool: PgPool) {
    let world = World::new(&pool).await;
    for _ in 0..5 {
        assert_eq!(
            reason(&world.login("nobody@example.com", PASSWORD).await.unwrap_err()),
            "invalid_credentials"
        );
    }
    assert_eq!(reason(&world.login("NOBODY@example.com ", PASSWORD).await.unwrap_err()), "rate_limited");
}

/// USR-16: one address that tries many accounts is blocked too; others are not.
#[sqlx::test(migrations = "./migrations")]
async fn an_address_that_tries_many_accounts_is_blocked(pool: PgPool) {
    let world = World::with(&pool, Rules { login_max_failures_per_address: 5, ..rules() }).await;
    let person = world.person(Role::Customer).await;
    for number in 0..5 {
        let refused =
            world.login_from("203.0.113.9", &format!("n{number}@example.com"), PASSWORD).await.unwrap_err();
        assert_eq!(reason(&refused), "invalid_credentials");
    }
    assert_eq!(
        reason(&world.login_from("203.0.113.9", &person.email, PASSWORD).await.unwrap_err()),
        "rate_limited"
    );
    world.login_from("203.0.113.10", &person.email, PASSWORD).await.unwrap();
}

/// USR-16: parallel tries do not slip through between compare and count.
#[sqlx::test(migrations = "./migrations")]
async fn parallel_guesses_are_counted_before_they_are_compared(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let guesses =
        futures::future::join_all((0..20).map(|_| world.login(&person.email, "Wrong-Horse-7"))).await;
    let compared = guesses
        .into_iter()
        .filter(|guess| reason(guess.as_ref().unwrap_err()) == "invalid_credentials")
        .count();
    assert_eq!(compared, 5);
}

/// USR-16: parallel log-ins with the right password are no attack, however many there are.
#[sqlx::test(migrations = "./migrations")]
async fn parallel_logins_of_the_owner_all_get_in(pool: PgPool) {
    let world = World::with(&pool, Rules { login_max_failures_per_address: 5, ..rules() }).await;
    let person = world.person(Role::Customer).await;
    let logins = futures::future::join_all((0..12).map(|_| world.login(&person.email, PASSWORD))).await;
    assert_eq!(logins.into_iter().flatten().count(), 12);
}

/// USR-16: success starts anew; the delay doubles up to fifteen minutes.
#[sqlx::test(migrations = "./migrations")]
async fn the_delay_grows_and_success_resets_it(pool: PgPool) {
    use redis::AsyncCommands as _;
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    for _ in 0..4 {
        world.login(&person.email, "Wrong-Horse-7").await.unwrap_err();
    }
    world.login(&person.email, PASSWORD).await.unwrap();
    for _ in 0..5 {
        assert_eq!(
            reason(&world.login(&person.email, "Wrong-Horse-7").await.unwrap_err()),
            "invalid_credentials"
        );
    }

    let client = redis::Client::open(test_kit::environment::redis_url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let pattern = format!("{}:*", world.app.rules.redis_key_prefix);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let blocked = world.login(&person.email, PASSWORD).await.unwrap_err();
        waits.push(Refusal::from_status(&blocked).retry_after.unwrap().as_secs());
        let keys: Vec<String> = redis.keys(&pattern).await.unwrap();
        assert!(
            keys.iter().all(|key| !key.contains("example") && !key.contains("192.0.2")),
            "keys are hashes"
        );
        for key in keys.iter().filter(|key| key.contains(":block:")) {
            let _: i64 = redis.del(key).await.unwrap();
        }
        world.login(&person.email, "Wrong-Horse-7").await.unwrap_err();
    }
    for (wait, most) in waits.iter().zip([30, 60, 120, 240, 480, 900, 900]) {
        assert!(*wait <= most && *wait + 10 > most, "{waits:?}");
    }
}

#[sqlx::test(migrations = "./migrations")]
async fn an_endless_password_is_not_hashed(pool: PgPool) {
    let world = World::new(&pool).await;
    let refused = world.login("ada@example.com", &"x".repeat(129)).await.unwrap_err();
    assert_eq!(fields(&refused), ["password"]);
}
