//! Parts that go away and come back.

use contracts::user::v1::{GetProfileRequest, RefreshTokenRequest};
use runtime::identity::Role;
use sqlx::PgPool;
use test_kit::eventually;
use tonic::Code;

use crate::world::{PASSWORD, SOON, World, reason, rules};

/// REL-07: without Redis nobody signs in, and everything else works.
#[sqlx::test(migrations = "./migrations")]
async fn without_redis_only_login_is_closed(pool: PgPool) {
    let before = World::new(&pool).await;
    let person = before.person(Role::Customer).await;
    let closed_port = free_port();
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

/// REL-07: log-in opens again as soon as Redis is back, and closes when it goes away once more.
#[sqlx::test(migrations = "./migrations")]
async fn login_opens_again_when_redis_is_back(pool: PgPool) {
    let person = World::new(&pool).await.person(Role::Customer).await;
    let port = free_port();
    let url = test_kit::environment::redis_url().replace(&redis_address(), &format!("127.0.0.1:{port}"));
    let world = World::with_redis(&pool, rules(), &url).await;
    for _ in 0..2 {
        assert_eq!(world.login(&person.email, PASSWORD).await.unwrap_err().code(), Code::Unavailable);
    }
    for _ in 0..2 {
        let way = open_way_to_redis(port).await;
        eventually("log-in is open", SOON, || async { world.login(&person.email, PASSWORD).await.ok() })
            .await;
        drop(way);
        eventually("log-in is closed", SOON, || async { world.login(&person.email, PASSWORD).await.err() })
            .await;
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Forwards a port to the real Redis until it is dropped, connections included.
async fn open_way_to_redis(port: u16) -> tokio::task::JoinSet<()> {
    let target = redis_address();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut way = tokio::task::JoinSet::new();
    way.spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(&target).await.unwrap();
            open.spawn(async move { drop(tokio::io::copy_bidirectional(&mut near, &mut far).await) });
        }
    });
    way
}

/// `host:port` of the real Redis.
fn redis_address() -> String {
    let url = test_kit::environment::redis_url();
    url.rsplit(['/', '@']).find(|part| part.contains(':')).unwrap().to_owned()
}
