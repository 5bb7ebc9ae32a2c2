//! Changing and resetting passwords.

use contracts::user::v1::{
    ChangePasswordRequest, CompletePasswordResetRequest, RegisterRequest, RequestPasswordResetRequest,
};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};

use crate::world::{PASSWORD, Person, World, fields, reason, registration, variables};

const NEW: &str = "Battery-Staple-9";

async fn change(
    world: &World,
    person: &Person,
    current: &str,
    new: &str,
    confirm: &str,
) -> Result<(), Status> {
    let body = ChangePasswordRequest {
        current_password: current.into(),
        new_password: new.into(),
        confirm_password: confirm.into(),
    };
    world.account().change_password(person.asks(body)).await.map(drop)
}

async fn complete(world: &World, token: &str, new: &str) -> Result<(), Status> {
    let body = CompletePasswordResetRequest {
        token: token.into(),
        new_password: new.into(),
        confirm_password: new.into(),
    };
    world.auth().complete_password_reset(body).await.map(drop)
}

async fn ask_for_reset(world: &World, email: &str) {
    world.auth().request_password_reset(RequestPasswordResetRequest { email: email.into() }).await.unwrap();
}

/// USR-13
#[sqlx::test(migrations = "./migrations")]
async fn a_password_change_ends_all_other_sessions(pool: PgPool) {
    let world = World::new(&pool).await;
    let here = world.person(Role::Customer).await;
    let there = world.sign_in(here.id, &here.email).await;
    let refused = change(&world, &here, "Wrong-Horse-7", NEW, NEW).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "wrong_password"));
    assert!(fields(&refused).is_empty());
    assert!(world.is_live(&there.access).await);

    change(&world, &here, PASSWORD, NEW, NEW).await.unwrap();
    assert!(world.is_live(&here.access).await && !world.is_live(&there.access).await);
    assert_eq!(reason(&world.login(&here.email, PASSWORD).await.unwrap_err()), "invalid_credentials");
    world.login(&here.email, NEW).await.unwrap();
    assert_eq!(world.events(here.id).await.last().unwrap(), "customer.password_changed.v1");
}

/// USR-03: one rule on all three routes, and the field is always named `password`.
#[sqlx::test(migrations = "./migrations")]
async fn the_same_rule_holds_on_all_three_routes(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    for weak in ["short-7", "no-upper-7", "Password1!"] {
        let register = RegisterRequest { password: weak.into(), ..registration("new@example.com") };
        let refusals = [
            world.auth().register(register).await.unwrap_err(),
            change(&world, &person, PASSWORD, weak, weak).await.unwrap_err(),
            complete(&world, "any token", weak).await.unwrap_err(),
        ];
        for refused in refusals {
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(fields(&refused).contains(&"password".to_owned()), "{weak}");
        }
    }
    let unequal = change(&world, &person, PASSWORD, NEW, "Battery-Staple-8").await.unwrap_err();
    assert_eq!(fields(&unequal), ["confirm_password"]);
}

/// USR-13, USR-16: a stolen session cannot guess the password either.
#[sqlx::test(migrations = "./migrations")]
async fn guessing_the_present_password_is_slowed_down(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    for _ in 0..5 {
        assert_eq!(
            reason(&change(&world, &person, "Wrong-Horse-7", NEW, NEW).await.unwrap_err()),
            "wrong_password"
        );
    }
    assert_eq!(reason(&change(&world, &person, PASSWORD, NEW, NEW).await.unwrap_err()), "rate_limited");
}

/// USR-14, USR-13: single use, and all sessions end.
#[sqlx::test(migrations = "./migrations")]
async fn a_reset_token_works_once_and_ends_all_sessions(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    ask_for_reset(&world, &person.email).await;
    let token = world.mailed_token(person.id, "password_reset", 1).await;
    let mail = world.mails(person.id, "password_reset").remove(0);
    assert_eq!(variables(&mail), serde_json::json!({ "token": token, "valid_hours": 1 }));

    complete(&world, &token, NEW).await.unwrap();
    assert!(!world.is_live(&person.access).await);
    world.login(&person.email, NEW).await.unwrap();
    let refused = complete(&world, &token, "Another-Staple-9").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "invalid_token"));
    assert!(fields(&refused).is_empty());
    world.login(&person.email, NEW).await.unwrap();
}

/// USR-14: only the newest is valid.
#[sqlx::test(migrations = "./migrations")]
async fn an_older_reset_token_is_refused(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    ask_for_reset(&world, &person.email).await;
    let older = world.mailed_token(person.id, "password_reset", 1).await;
    world.mails_settled().await;
    ask_for_reset(&world, &person.email).await;
    let newer = world.mailed_token(person.id, "password_reset", 2).await;
    assert_eq!(reason(&complete(&world, &older, NEW).await.unwrap_err()), "invalid_token");
    complete(&world, &newer, NEW).await.unwrap();
}

/// USR-14, USR-16: the refusal offers a new password as the way in, and it is one.
#[sqlx::test(migrations = "./migrations")]
async fn a_new_password_opens_a_blocked_account(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    for _ in 0..5 {
        let _ = world.login(&person.email, "Wrong-Horse-7").await.unwrap_err();
    }
    let blocked = world.login(&person.email, PASSWORD).await.unwrap_err();
    assert_eq!(reason(&blocked), "rate_limited");

    ask_for_reset(&world, &person.email).await;
    let token = world.mailed_token(person.id, "password_reset", 1).await;
    complete(&world, &token, NEW).await.unwrap();

    world.login(&person.email, NEW).await.unwrap();
}

/// USR-14: an hour, not longer; a verification token resets nothing.
#[sqlx::test(migrations = "./migrations")]
async fn an_expired_or_foreign_token_resets_nothing(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    ask_for_reset(&world, &person.email).await;
    let token = world.mailed_token(person.id, "password_reset", 1).await;
    let life: i64 = world
        .count("SELECT extract(epoch FROM t.expires_at - t.created_at)::bigint FROM mail_tokens t JOIN mail_requests m ON m.id = t.mail_request_id WHERE m.kind = 'password_reset'")
        .await;
    assert_eq!(life, 3600);
    sqlx::query("UPDATE mail_tokens SET expires_at = now()").execute(&pool).await.unwrap();
    assert_eq!(reason(&complete(&world, &token, NEW).await.unwrap_err()), "invalid_token");

    let other = world.register("ada@example.com").await;
    let verification = world.mailed_token(other, "email_verification", 1).await;
    assert_eq!(reason(&complete(&world, &verification, NEW).await.unwrap_err()), "invalid_token");
    assert_eq!(reason(&world.verify(&token).await.unwrap_err()), "invalid_token");
}

/// USR-08: the same answer and the same time class for an unknown address; a reset proves the address.
#[sqlx::test(migrations = "./migrations")]
async fn a_reset_of_an_unknown_address_looks_the_same(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = world.register("ada@example.com").await;
    for email in ["ada@example.com", "nobody@example.com"] {
        let start = std::time::Instant::now();
        ask_for_reset(&world, email).await;
        assert!(start.elapsed().as_millis() >= 55, "{email}");
    }
    let token = world.mailed_token(id, "password_reset", 1).await;
    complete(&world, &token, NEW).await.unwrap();
    world.login("ada@example.com", NEW).await.unwrap();
    assert!(world.events(id).await.contains(&"customer.verified.v1".to_owned()));
}
