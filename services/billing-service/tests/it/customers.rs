//! What customers, operators and other services may read.

use contracts::billing::v1 as proto;
use contracts::billing::v1::billing_directory_service_client::BillingDirectoryServiceClient;
use contracts::services::{USER, WORKER};
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::Code;
use uuid::Uuid;

use crate::world::{Fault, World};

/// BIL-10
#[sqlx::test(migrations = "./migrations")]
async fn eligibility_says_why(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");

    let before = world.eligibility(ada).await;
    assert_eq!((before.eligible, before.reason.as_str(), before.trial_days), (true, "eligible", 14));
    assert_eq!((before.has_active_subscriptions, before.subscription_count), (false, 0));

    world.order(ada, Uuid::now_v7()).await.unwrap();
    let after = world.eligibility(ada).await;
    assert_eq!((after.eligible, after.reason.as_str()), (false, "already_used"));
    assert_eq!((after.has_active_subscriptions, after.subscription_count), (true, 1));

    let bob = world.directory.add("bob@example.com");
    world.order_plan(bob, Uuid::now_v7(), "standard-monthly", None).await.unwrap();
    assert_eq!(world.eligibility(bob).await.reason, "has_paid_subscription");
    assert_eq!(world.eligibility(Uuid::now_v7()).await.reason, "unavailable", "an unknown account is denied");
}

/// SEC-01: a subscription of another customer does not exist; operators see it.
#[sqlx::test(migrations = "./migrations")]
async fn subscriptions_are_the_owners(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, eve) = (world.directory.add("ada@example.com"), world.directory.add("eve@example.com"));
    let id = world.order(ada, Uuid::now_v7()).await.unwrap().subscription.unwrap().id;
    world.order(ada, Uuid::now_v7()).await.unwrap();
    let get = || proto::GetSubscriptionRequest { subscription_id: id.clone() };
    let list = |customer: Option<Uuid>| proto::ListSubscriptionsRequest {
        customer_id: customer.map(|customer| customer.to_string()),
        page: 1,
        page_size: 1,
    };

    let own = world.billing().get_subscription(world.by(ada, Role::Customer, get())).await.unwrap();
    assert_eq!(own.into_inner().subscription.unwrap().id, id);
    let foreign = world.billing().get_subscription(world.by(eve, Role::Customer, get())).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    assert!(world.billing().get_subscription(world.by(eve, Role::Operator, get())).await.is_ok());

    let page = world.billing().list_subscriptions(world.by(ada, Role::Customer, list(None))).await.unwrap();
    let page = page.into_inner();
    assert_eq!((page.total, page.subscriptions.len()), (2, 1));
    let foreign = world.by(eve, Role::Customer, list(Some(ada)));
    assert_eq!(world.billing().list_subscriptions(foreign).await.unwrap_err().code(), Code::NotFound);
    let operator = world.by(eve, Role::Operator, list(Some(ada)));
    assert_eq!(world.billing().list_subscriptions(operator).await.unwrap().into_inner().total, 2);
}

/// USR-17: profiles show the highest live plan.
#[sqlx::test(migrations = "./migrations")]
async fn the_standing_is_the_highest_plan_and_the_worst_state(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");
    let mut directory = BillingDirectoryServiceClient::new(world.api.channel_as(USER));
    let request = || proto::GetCustomerStandingRequest { customer_id: ada.to_string() };

    let none = directory.get_customer_standing(request()).await.unwrap().into_inner();
    assert_eq!((none.highest_plan, none.status.as_str()), (None, "none"));
    world.order(ada, Uuid::now_v7()).await.unwrap();
    let trial = directory.get_customer_standing(request()).await.unwrap().into_inner();
    assert_eq!((trial.highest_plan.as_deref(), trial.status.as_str()), (Some("basic-monthly"), "trialing"));
    world.order_plan(ada, Uuid::now_v7(), "premium-annual", None).await.unwrap();
    let paid = directory.get_customer_standing(request()).await.unwrap().into_inner();
    assert_eq!((paid.highest_plan.as_deref(), paid.status.as_str()), (Some("premium-annual"), "active"));
}

/// BIL-38
#[sqlx::test(migrations = "./migrations")]
async fn the_health_of_the_provider_is_told_without_details(pool: PgPool) {
    let world = World::start(&pool).await;
    let health = |world: &World| world.billing();

    let good =
        health(&world).get_provider_health(proto::GetProviderHealthRequest {}).await.unwrap().into_inner();
    assert!(good.healthy);
    world.remote.set(Fault::FailBefore);
    let bad =
        health(&world).get_provider_health(proto::GetProviderHealthRequest {}).await.unwrap().into_inner();
    assert_eq!((bad.healthy, bad.detail.as_str()), (false, "the provider does not answer"));
}

/// SEC-02: orders are for instance-service; the worker may only ask.
#[sqlx::test(migrations = "./migrations")]
async fn only_instance_service_places_orders(pool: PgPool) {
    let world = World::start(&pool).await;
    for caller in [WORKER, USER, contracts::services::GATEWAY] {
        let mut orders = proto::order_service_client::OrderServiceClient::new(world.api.channel_as(caller));
        let status = orders.place_order(proto::PlaceOrderRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{caller}");
        let status = orders.cancel_order(proto::CancelOrderRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{caller}");
    }
    let mut worker = proto::order_service_client::OrderServiceClient::new(world.api.channel_as(WORKER));
    let asked = proto::GetEntitlementRequest { subscription_id: Uuid::now_v7().to_string() };
    assert_eq!(worker.get_entitlement(asked).await.unwrap_err().code(), Code::NotFound);
}
