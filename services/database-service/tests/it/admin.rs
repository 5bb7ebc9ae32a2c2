//! Operators' reads, contact with the cluster, and who may call what.

use contracts::database::v1::{
    GetClusterContactRequest, GetCredentialsRequest, GetPoolRequest, ListPoolsRequest, ProvisionPoolRequest,
    ReportClusterContactRequest, ReportPoolRequest,
};
use contracts::scalars::timestamp;
use contracts::services::{AUTOMATION, BILLING, GATEWAY, INSTANCE};
use runtime::grpc::{Refusal, on_behalf_of, relayed_for};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Request};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::world::{World, settings};

pub fn as_user<T>(world: &World, role: Role, message: T) -> Request<T> {
    let token = world.running.keys.user_token(Uuid::now_v7(), role);
    on_behalf_of(message, Some(&token), "test", None)
}

fn list(status: &str) -> ListPoolsRequest {
    ListPoolsRequest { status: status.into(), server_type: String::new(), page: 0, page_size: 0 }
}

/// DBS-01, DBS-04
#[sqlx::test(migrations = "./migrations")]
async fn admins_see_pools_and_what_they_hold(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let (spec, _server) = world.first_pool().await;
    world.allocate("i", "c", "starter").await.unwrap();

    let listed = world.admin().list_pools(as_user(&world, Role::Admin, list(""))).await.unwrap().into_inner();
    assert_eq!(listed.total, 1);
    let seen = &listed.pools[0];
    assert_eq!(
        (seen.name.as_str(), seen.status.as_str(), seen.current_instances),
        ("postgres-pool-1", "active", 1)
    );
    assert_eq!(
        (seen.health_status.as_str(), seen.max_instances, seen.admin_user.as_str()),
        ("healthy", 50, "pool_admin")
    );
    assert!(
        seen.last_health_check.is_some() && seen.provisioned_at.is_some() && seen.last_allocated_at.is_some()
    );
    let none =
        world.admin().list_pools(as_user(&world, Role::Admin, list("error"))).await.unwrap().into_inner();
    assert_eq!((none.total, none.pools.len()), (0, 0));
    let refused = world.admin().list_pools(as_user(&world, Role::Admin, list("broken"))).await.unwrap_err();
    assert_eq!(Refusal::from_status(&refused).fields[0].field, "status");

    for key in [spec.id.as_str(), "postgres-pool-1"] {
        let request = as_user(&world, Role::Admin, GetPoolRequest { pool: key.into() });
        let found = world.admin().get_pool(request).await.unwrap().into_inner();
        assert_eq!(found.pool.unwrap().id, spec.id);
        assert_eq!(found.allocations[0].instance_id, "i");
    }
    for key in ["postgres-pool-9", &Uuid::nil().to_string()] {
        let request = as_user(&world, Role::Admin, GetPoolRequest { pool: key.into() });
        assert_eq!(world.admin().get_pool(request).await.unwrap_err().code(), Code::NotFound);
    }
}

/// SEC-02, part 0 of the API: a service that asks over HTTP does so in its own name, when it is listed.
#[sqlx::test(migrations = "./migrations")]
async fn a_script_orders_a_pool_in_its_own_name(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let order = async |service: &str| {
        let message = ProvisionPoolRequest { max_instances: 50, ..ProvisionPoolRequest::default() };
        let token = world.running.keys.service_token(service, GATEWAY, 300);
        world.admin().provision_pool(relayed_for(message, &token, "test", None)).await
    };
    assert_eq!(order(BILLING).await.unwrap_err().code(), Code::PermissionDenied);
    order(AUTOMATION).await.unwrap();
    let (actor, role): (String, String) =
        sqlx::query_as("SELECT actor, role FROM audit_log").fetch_one(&pool).await.unwrap();
    assert_eq!((actor.as_str(), role.as_str()), (AUTOMATION, "service"));
}

/// DBS-14
#[sqlx::test(migrations = "./migrations")]
async fn the_last_contact_with_the_cluster_is_kept(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let ask =
        async || world.admin().get_cluster_contact(GetClusterContactRequest {}).await.unwrap().into_inner();
    let report = async |seconds: i64| {
        let at = runtime::clock::now() - time::Duration::seconds(seconds);
        let request = ReportClusterContactRequest { at: Some(timestamp(at)) };
        world.pools().report_cluster_contact(request).await.unwrap();
    };

    assert_eq!((ask().await.connected, ask().await.last_contact), (false, None));
    report(121).await;
    assert!(!ask().await.connected, "too old");
    report(1).await;
    report(60).await;
    assert!(ask().await.connected, "an older report changes nothing");
    report(-3600).await;
    let last = ask().await.last_contact.unwrap();
    assert!(last.seconds <= runtime::clock::now().unix_timestamp() + 1, "the future counts as now");
}

/// SEC-02, DBS-09: passwords and pools are the worker's alone; pools are shown to admins alone.
#[sqlx::test(migrations = "./migrations")]
async fn others_are_refused(pool: PgPool) {
    use contracts::database::v1::allocation_service_client::AllocationServiceClient;
    let world = World::still(&pool, settings(50)).await;
    for caller in [GATEWAY, INSTANCE] {
        let request = GetCredentialsRequest { instance_id: "i".into() };
        let refused =
            AllocationServiceClient::new(world.running.channel_as(caller)).get_credentials(request).await;
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
    for (role, code) in [(Role::Customer, Code::PermissionDenied), (Role::Operator, Code::PermissionDenied)] {
        assert_eq!(world.admin().list_pools(as_user(&world, role, list(""))).await.unwrap_err().code(), code);
    }
    assert_eq!(world.admin().list_pools(list("")).await.unwrap_err().code(), Code::Unauthenticated);
}

/// DBS-27: reports are checked before they touch a row.
#[sqlx::test(migrations = "./migrations")]
async fn bad_reports_are_refused(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    world.allocate("i", "c", "starter").await.unwrap();
    let id = world.specs().await[0].id.clone();
    let good = ReportPoolRequest {
        pool_id: id,
        observed: "ready".into(),
        platform_host: "h".into(),
        platform_port: 5432,
        ..ReportPoolRequest::default()
    };
    for (bad, field) in [
        (ReportPoolRequest { observed: "fine".into(), ..good.clone() }, "observed"),
        (ReportPoolRequest { pool_id: "x".into(), ..good.clone() }, "pool_id"),
        (ReportPoolRequest { platform_port: 70_000, ..good.clone() }, "platform_port"),
        (ReportPoolRequest { platform_host: String::new(), ..good.clone() }, "platform_host"),
    ] {
        let refusal = Refusal::from_status(&world.pools().report_pool(bad).await.unwrap_err());
        assert_eq!(refusal.fields[0].field, field);
    }
    let unknown = ReportPoolRequest { pool_id: Uuid::nil().to_string(), ..good };
    assert_eq!(world.pools().report_pool(unknown).await.unwrap_err().code(), Code::NotFound);
}

/// DBS-14, DBS-15: the pages of the own HTTP port.
#[sqlx::test(migrations = "./migrations")]
async fn the_health_page_tells_the_contact_with_the_cluster(pool: PgPool) {
    let world = World::still(&pool, settings(50)).await;
    let get = async |path: &str| {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = database_service::http::router(&world.app).oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (code, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    };

    assert_eq!(get("/health/kubernetes").await.0, 503, "no contact yet");
    let request = ReportClusterContactRequest { at: Some(timestamp(runtime::clock::now())) };
    world.pools().report_cluster_contact(request).await.unwrap();

    let (code, body) = get("/health/kubernetes").await;
    assert_eq!(
        (code, body["kubernetes"].as_str(), body["source"].as_str()),
        (200, Some("connected"), Some("instance-worker"))
    );
    let (code, body) = get("/health/docker").await;
    assert_eq!((code, body["deprecated"].as_bool()), (200, Some(true)));
}
