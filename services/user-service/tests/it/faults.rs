//! Parts that go away and come back.

use contracts::user::v1::{GetProfileRequest, RefreshTokenRequest};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;

use crate::world::{PASSWORD, World, reason, rules};

/// REL-07: without Redis nobody signs in, and everything else works.
#[sqlx::test(migrations = "./migrations")]
async fn without_redis_only_login_is_closed(pool: PgPool) {
    let before = World::new(&pool).await;
    let person = before.person(Role::Customer).await;
    let closed_port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let world = World::with_redis(&pool, rules(), &format!("redis://127.0.0.1:{closed_port}")).await;
    let refused = world.login(&person.email, PASSWORD).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "unavailable"));

    assert!(world.is_live(&person.access).await, "tokens are checked against SQL");
    let tokens = world
        .auth()
        .refresh_token(RefreshTokenRequest { refresh_token: person.refresh })
        .await
        .unwrap()
        .into_inner()
        .tokens
        .unwrap();
    assert!(!tokens.access_token.is_empty());
    let id = world.register("ada@example.com").await;
    let token = world.mailed_token(id, "email_verification", 1).await;
    world.verify(&token).await.unwrap();
}

/// REL-06: all connections are cut, as a restart of the server does; the next call works.
#[sqlx::test(migrations = "./migrations")]
async fn cut_connections_are_made_anew(pool: PgPool) {
    let world = World::new(&pool).await;
    let person = world.person(Role::Customer).await;
    // The cut comes from outside of the pool that it cuts.
    let outside = PgPool::connect(&test_kit::environment::database_url()).await.unwrap();
    let database = pool.connect_options().get_database().unwrap().to_owned();
    let cut: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1",
    )
    .bind(&database)
    .fetch_one(&outside)
    .await
    .unwrap();
    assert!(cut > 0);
    world.account().get_profile(person.asks(GetProfileRequest {})).await.unwrap();
    world.login(&person.email, PASSWORD).await.unwrap();
    let id = world.register("after@example.com").await;
    world.mailed_token(id, "email_verification", 1).await;
}
