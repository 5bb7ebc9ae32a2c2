//! Monitoring on the service's own port (MON-02).

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use contracts::services::{DATABASE, INSTANCE};
use instance_service::http::{Pages, router};
use runtime::identity::ServiceSigner;
use sqlx::PgPool;
use tower::ServiceExt as _;

use crate::support::World;

async fn call(
    router: &Router,
    peer: &str,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> (StatusCode, serde_json::Value) {
    let mut request = Request::builder().method(method).uri(path).header("x-forwarded-for", "127.0.0.1");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// MON-02: "from another pod" is a peer address that is not loopback.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn monitoring_starts_without_a_token_only_from_loopback(pool: PgPool) {
    let world = World::start(pool).await;
    let keys = world.server.keys.service_keys(INSTANCE);
    let router = router(Pages { app: world.app.clone(), keys });
    let start = "/api/v1/monitoring/start";
    let enabled = async || -> Option<bool> {
        sqlx::query_scalar("SELECT enabled FROM monitoring").fetch_one(&world.pool).await.unwrap()
    };

    for peer in ["10.1.2.3:40000", "192.168.1.1:1", "[2001:db8::1]:1", "[::ffff:10.1.2.3]:1"] {
        let (status, body) = call(&router, peer, "POST", start, None).await;
        assert_eq!(
            (status, body["reason"].as_str()),
            (StatusCode::UNAUTHORIZED, Some("unauthenticated")),
            "{peer}"
        );
        assert_eq!(
            call(&router, peer, "GET", "/api/v1/monitoring/status", None).await.0,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(call(&router, peer, "POST", start, Some("x.y.z")).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(enabled().await, None, "nothing was switched");

    let (status, body) = call(&router, "127.0.0.1:40000", "POST", start, None).await;
    assert_eq!(
        (status, body["status"].as_str(), body["changed"].as_bool()),
        (StatusCode::OK, Some("running"), Some(true))
    );
    let (_, body) = call(&router, "[::ffff:127.0.0.1]:1", "POST", start, None).await;
    assert_eq!(body["changed"], false);
    assert_eq!(enabled().await, Some(true));

    let identity = &world.server.keys.identity;
    let token = ServiceSigner::try_new(DATABASE, identity).unwrap().token_for(INSTANCE).unwrap();
    let (status, _) = call(&router, "10.1.2.3:40000", "POST", start, Some(&token)).await;
    assert_eq!(status, StatusCode::OK);
    let elsewhere = ServiceSigner::try_new(DATABASE, identity).unwrap().token_for("billing-service").unwrap();
    assert_eq!(
        call(&router, "10.1.2.3:40000", "POST", start, Some(&elsewhere)).await.0,
        StatusCode::UNAUTHORIZED
    );
    let (status, body) = call(&router, "[::1]:1", "GET", "/api/v1/monitoring/status", None).await;
    assert_eq!((status, body["enabled"].as_bool()), (StatusCode::OK, Some(true)));
}
