//! Health pages (GTW-02, DBS-14, BIL-38).

use contracts::billing::v1::{GetProviderHealthRequest, GetProviderHealthResponse};
use contracts::database::v1::{GetClusterContactRequest, GetClusterContactResponse};
use contracts::scalars::timestamp;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::world::{World, send};

/// GTW-02
#[tokio::test]
async fn six_health_pages_answer() {
    let world = World::start().await;
    for (path, service) in [
        ("/health", "gateway"),
        ("/user/health", "user-service"),
        ("/billing/health", "billing-service"),
        ("/instance/health", "instance-service"),
        ("/database/health", "database-service"),
        ("/notification/health", "notification-service"),
    ] {
        let answer = send(world.request("GET", path)).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["status"], &body["service"]),
            (200, &"healthy".into(), &service.into())
        );
        assert!(body["version"].is_string() && body["time"].as_str().unwrap().ends_with('Z'), "{body}");
    }
}

/// GTW-02: the gateway lives without its services.
#[tokio::test]
async fn a_service_that_is_away_is_unhealthy_within_the_deadline() {
    let world =
        World::start_with(|config| config.services.instance_service_url = "http://127.0.0.1:1".into()).await;
    let start = std::time::Instant::now();
    let answer = send(world.request("GET", "/instance/health")).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (503, Some("unhealthy")));
    assert!(start.elapsed() < std::time::Duration::from_secs(4));
    assert_eq!(send(world.request("GET", "/health")).await.status, 200);
    assert_eq!(send(world.request("GET", "/user/health")).await.status, 200);
}

/// USR-29: alive without its database.
#[tokio::test]
async fn the_database_page_asks_for_the_database() {
    let world = World::start().await;
    world.fake.on("grpc.health.v1.Health/Check", |request: HealthCheckRequest| {
        Ok(HealthCheckResponse { status: if request.service == "database" { 2 } else { 1 } })
    });
    assert_eq!(send(world.request("GET", "/user/health")).await.status, 200);
    let answer = send(world.request("GET", "/user/health/database")).await;
    assert_eq!((answer.status, answer.json()["database"].as_str()), (503, Some("disconnected")));
}

/// DBS-14: no token; 503 when the last contact is older than 120 s.
#[tokio::test]
async fn an_old_contact_with_the_cluster_is_none() {
    for (age, status) in [(0, 200), (100, 200), (130, 503)] {
        let world = World::start().await;
        world.fake.on(
            "saasodoo.database.v1.DatabaseAdminService/GetClusterContact",
            move |_: GetClusterContactRequest| {
                let at = runtime::clock::now() - std::time::Duration::from_secs(age);
                Ok(GetClusterContactResponse { last_contact: Some(timestamp(at)), connected: true })
            },
        );
        let answer = send(world.request("GET", "/database/health/kubernetes")).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let old = send(world.request("GET", "/database/health/docker")).await;
        assert_eq!((old.status, &old.json()["deprecated"]), (status, &true.into()));
    }
}

/// BIL-38
#[tokio::test]
async fn a_sick_provider_is_told() {
    for (healthy, status) in [(true, 200), (false, 503)] {
        let world = World::start().await;
        world.fake.on(
            "saasodoo.billing.v1.BillingService/GetProviderHealth",
            move |_: GetProviderHealthRequest| {
                Ok(GetProviderHealthResponse { provider: "ledger".into(), healthy, detail: String::new() })
            },
        );
        let answer = send(world.request("GET", "/billing/health/provider")).await;
        assert_eq!((answer.status, &answer.json()["provider"]), (status, &"ledger".into()));
    }
}

/// GTW-08: however often a page is asked for, the service behind it is asked once in a while, and there is a
/// limit.
#[tokio::test]
async fn health_pages_cost_the_services_nothing() {
    let world = World::start_with(|config| config.limits.rate_limit_per_minute = 10).await;
    let start = std::time::Instant::now();
    let mut told = 0;
    let refused = loop {
        let answer = send(world.request("GET", "/user/health/database")).await;
        if answer.status != 200 {
            break answer;
        }
        told += 1;
        assert!(told < 500, "there is no limit");
    };
    assert_eq!(refused.problem(), (429, "rate_limited".into()));
    let calls = world.fake.calls::<HealthCheckRequest>("grpc.health.v1.Health/Check").len();
    let periods = usize::try_from(start.elapsed().as_secs()).unwrap() / 2 + 1;
    assert!(calls <= periods + 1, "{calls} in {periods}");
}
