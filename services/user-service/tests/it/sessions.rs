//! Sessions and refresh tokens.

use contracts::user::v1::{
    CheckSessionRequest, GetProfileRequest, ListSessionsRequest, LogoutRequest, RefreshTokenRequest,
    RevokeSessionsRequest, Tokens,
};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};
use user_service::config::Rules;
use uuid::Uuid;

use crate::world::{Person, World, reason, rules};

async fn refresh(world: &World, token: &str) -> Result<Tokens, Status> {
    let request = RefreshTokenRequest { refresh_token: token.into() };
    Ok(world.auth().refresh_token(request).await?.into_inner().tokens.unwrap())
}

/// USR-11
#[sqlx::test(migrations = "./migrations")]
async fn after_logout_the_token_is_useless(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    assert!(world.is_live(&person.access).await);
    world.account().logout(person.asks(LogoutRequest {})).await.unwrap();
    assert!(!world.is_live(&person.access).await);
    let refused = world.account().get_profile(person.asks(GetProfileRequest {})).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "unauthenticated"));
    assert_eq!(reason(&refresh(&world, &person.refresh).await.unwrap_err()), "invalid_refresh_token");
}

/// USR-11: unknown sessions and texts that are no id are not live.
#[sqlx::test(migrations = "./migrations")]
async fn an_unknown_session_is_not_live(pool: PgPool) {
    let world = World::new(&pool).await;
    for session_id in [Uuid::now_v7().to_string(), "nonsense".into(), String::new()] {
        let answer =
            world.auth().check_session(CheckSessionRequest { session_id }).await.unwrap().into_inner();
        assert!(!answer.live && answer.role.is_empty());
    }
}

/// USR-11: the check writes at most once a minute, and tells the role of now.
#[sqlx::test(migrations = "./migrations")]
async fn checking_a_session_writes_once_a_minute_and_tells_the_live_role(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let session = world.server.keys.user_verifier().verify(&person.access).unwrap().session;
    let version = || async {
        let version: String = sqlx::query_scalar("SELECT xmin::text FROM sessions WHERE id = $1")
            .bind(session)
            .fetch_one(&pool)
            .await
            .unwrap();
        version
    };
    let before = version().await;
    assert!(world.is_live(&person.access).await);
    assert_eq!(version().await, before, "nothing was written");

    world.run("UPDATE sessions SET last_used_at = now() - interval '2 minutes' WHERE id = $1", session).await;
    world.run("UPDATE users SET role = 'operator' WHERE id = $1", person.id).await;
    let request = CheckSessionRequest { session_id: session.to_string() };
    let answer = world.auth().check_session(request).await.unwrap().into_inner();
    assert_eq!((answer.live, answer.role.as_str()), (true, "operator"));
    let fresh: bool =
        sqlx::query_scalar("SELECT last_used_at > now() - interval '30 seconds' FROM sessions WHERE id = $1")
            .bind(session)
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(fresh);
}

/// USR-12: each refresh gives a new token; an old one that comes again kills the family.
#[sqlx::test(migrations = "./migrations")]
async fn reuse_of_a_refresh_token_ends_the_session(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let second = refresh(&world, &person.refresh).await.unwrap();
    assert_ne!(second.refresh_token, person.refresh);
    assert!(world.is_live(&second.access_token).await);
    let third = refresh(&world, &second.refresh_token).await.unwrap();

    let reused = refresh(&world, &person.refresh).await.unwrap_err();
    assert_eq!((reused.code(), reason(&reused).as_str()), (Code::Unauthenticated, "invalid_refresh_token"));
    assert!(!world.is_live(&third.access_token).await);
    assert_eq!(reason(&refresh(&world, &third.refresh_token).await.unwrap_err()), "invalid_refresh_token");
    assert!(world.audited(person.id).await.contains(&"session.ended_by_reuse".to_owned()));
}

/// USR-12: of two uses at once one wins, the other ends the session.
#[sqlx::test(migrations = "./migrations")]
async fn two_refreshes_at_once_are_a_reuse(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let both = tokio::join!(refresh(&world, &person.refresh), refresh(&world, &person.refresh));
    assert_eq!([both.0.is_ok(), both.1.is_ok()].iter().filter(|ok| **ok).count(), 1);
    assert!(!world.is_live(&person.access).await);
}

/// USR-12
#[sqlx::test(migrations = "./migrations")]
async fn unknown_and_expired_refresh_tokens_are_refused(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    assert_eq!(reason(&refresh(&world, "nonsense").await.unwrap_err()), "invalid_refresh_token");
    sqlx::query("UPDATE refresh_tokens SET expires_at = now()").execute(&pool).await.unwrap();
    assert_eq!(reason(&refresh(&world, &person.refresh).await.unwrap_err()), "invalid_refresh_token");
    assert!(world.is_live(&person.access).await, "an expired token is no theft");
}

/// USR-15, SEC-01
#[sqlx::test(migrations = "./migrations")]
async fn a_user_lists_and_ends_own_sessions_only(pool: PgPool) {
    let world = World::new(&pool).await;
    let here = world.person(Role::Customer).await;
    let there = world.sign_in(here.id, &here.email).await;
    let stranger = world.person(Role::Customer).await;
    let list = |person: Person| {
        let mut account = world.account();
        async move {
            account.list_sessions(person.asks(ListSessionsRequest {})).await.unwrap().into_inner().sessions
        }
    };
    let sessions = list(here.clone()).await;
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions.iter().filter(|session| session.current).count(), 1);
    assert!(sessions.iter().all(|session| session.ip == "192.0.2.1" && session.user_agent == "test/1"));

    let other = sessions.iter().find(|session| !session.current).unwrap().id.clone();
    let end = |id: &str| RevokeSessionsRequest { session_id: Some(id.to_owned()) };
    let foreign = world.account().revoke_sessions(stranger.asks(end(&other))).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    assert!(world.is_live(&there.access).await);
    world.account().revoke_sessions(here.asks(end(&other))).await.unwrap();
    assert!(!world.is_live(&there.access).await);
    assert_eq!(
        world.account().revoke_sessions(here.asks(end(&other))).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        world.account().revoke_sessions(here.asks(end("x"))).await.unwrap_err().code(),
        Code::NotFound
    );

    let again = world.sign_in(here.id, &here.email).await;
    world.account().revoke_sessions(here.asks(RevokeSessionsRequest { session_id: None })).await.unwrap();
    assert!(!world.is_live(&again.access).await && world.is_live(&here.access).await);
    assert_eq!(list(here).await.len(), 1);
    assert!(world.is_live(&stranger.access).await);
}

/// MAX_SESSIONS_PER_USER: the oldest ends.
#[sqlx::test(migrations = "./migrations")]
async fn the_oldest_session_gives_way(pool: PgPool) {
    let world = World::with(&pool, Rules { max_sessions_per_user: 2, ..rules() }).await;
    let first = world.person(Role::Customer).await;
    let second = world.sign_in(first.id, &first.email).await;
    let third = world.sign_in(first.id, &first.email).await;
    assert!(!world.is_live(&first.access).await);
    assert!(world.is_live(&second.access).await && world.is_live(&third.access).await);
}

/// SESSION_TIMEOUT
#[sqlx::test(migrations = "./migrations")]
async fn an_idle_session_ends(pool: PgPool) {
    let world = World::with(&pool, Rules { session_timeout: 600, ..rules() }).await;
    let person = world.person(Role::Customer).await;
    world
        .run("UPDATE sessions SET last_used_at = now() - interval '9 minutes' WHERE user_id = $1", person.id)
        .await;
    assert!(world.is_live(&person.access).await, "and this was a use");
    world
        .run("UPDATE sessions SET last_used_at = now() - interval '11 minutes' WHERE user_id = $1", person.id)
        .await;
    assert!(!world.is_live(&person.access).await);
    assert_eq!(reason(&refresh(&world, &person.refresh).await.unwrap_err()), "invalid_refresh_token");
}

/// SEC-10: a token that somebody else made opens nothing.
#[sqlx::test(migrations = "./migrations")]
async fn a_token_of_another_user_or_session_is_refused(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    let unbound = world.server.keys.user_token(person.id, Role::SuperAdmin);
    let forged = Person { access: unbound, ..person.clone() };
    let refused = world.account().get_profile(forged.asks(GetProfileRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let garbage = Person { access: format!("{}x", person.access), ..person };
    let refused = world.account().get_profile(garbage.asks(GetProfileRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
