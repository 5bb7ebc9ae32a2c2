//! Orders that are cut off, and a provider that is down.

use std::time::Duration as Wait;

use billing_service::{app, sweep};
use runtime::clock;
use runtime::grpc::Refusal;
use sqlx::PgPool;
use test_kit::eventually;
use time::Duration;
use tonic::Code;
use uuid::Uuid;

use crate::world::{Fault, World};

/// BIL-08, REL-01: the process dies at each step of an order; after the restart there is exactly one
/// subscription, on both sides.
#[sqlx::test(migrations = "./migrations")]
async fn an_order_that_is_cut_off_at_any_step_ends_with_one_subscription(pool: PgPool) {
    let world = World::start(&pool).await;
    for (round, step) in [Fault::HangAtAccount, Fault::HangBefore, Fault::HangAfter].into_iter().enumerate() {
        let (customer, instance) = (world.directory.add(&format!("c{round}@example.com")), Uuid::now_v7());
        world.remote.set(step);
        let wish = app::orders::place::Wish {
            instance_id: instance,
            customer_id: customer,
            plan_name: "basic-monthly".into(),
            trial: None,
            settings: serde_json::json!({"name": "Shop"}),
            coupon: None,
        };
        let app = world.app.clone();
        let process =
            tokio::spawn(async move { app::orders::place::place_order(&app, wish, clock::now()).await });
        eventually("the order row", Wait::from_secs(5), || async {
            let placed = i64::try_from(round).unwrap() + 1;
            (world.count("orders").await == placed).then_some(())
        })
        .await;
        if step == Fault::HangAfter {
            eventually("the provider's part", Wait::from_secs(5), || async {
                (world.remote.live() == round + 1).then_some(())
            })
            .await;
        }
        process.abort();
        assert!(process.await.unwrap_err().is_cancelled());

        world.remote.set(Fault::None);
        sweep::sweep(&world.app, clock::now() + Duration::seconds(30)).await.unwrap();

        assert_eq!(world.remote.live(), round + 1, "{step:?}");
        let again = world.order(customer, instance).await.unwrap();
        assert_eq!(again.billing_status, "trial", "{step:?}");
        assert_eq!(world.remote.live(), round + 1, "{step:?}");
    }
    assert_eq!(world.count("subscriptions").await, 3);
    assert_eq!(world.count("trial_grants").await, 3);
    assert_eq!(world.announced().await.len(), 3, "announced once each");
}

/// BIL-35: a provider that is down refuses new purchases and leaves nothing of them, also when it has done
/// its part.
#[sqlx::test(migrations = "./migrations")]
async fn a_provider_that_is_down_refuses_orders_and_nothing_of_them_stays(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());
    for fault in [Fault::FailBefore, Fault::FailAfter] {
        world.remote.set(fault);
        let refused = world.order(ada, instance).await.unwrap_err();
        let refusal = Refusal::from_status(&refused);
        assert_eq!((refused.code(), refusal.reason.as_str()), (Code::Unavailable, "provider_unavailable"));
        assert!(refusal.retry_after.is_some());
    }
    assert_eq!(world.remote.live(), 1, "it did its part and said no");
    assert_eq!(world.count("subscriptions").await, 0);

    world.remote.set(Fault::None);
    sweep::sweep(&world.app, clock::now() + Duration::seconds(1)).await.unwrap();

    assert_eq!(world.remote.live(), 0, "it was told");
    assert_eq!(world.count("orders WHERE provider_cancel_due").await, 0);
    assert_eq!(world.order(ada, instance).await.unwrap().billing_status, "trial", "nothing was used up");
}

/// BIL-35: what runs goes on from the local rows.
#[sqlx::test(migrations = "./migrations")]
async fn an_outage_of_the_provider_stops_no_instance(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");
    let subscription = world.order(ada, Uuid::now_v7()).await.unwrap().subscription.unwrap();

    world.remote.set(Fault::FailBefore);

    assert!(world.entitlement(&subscription.id).await.may_run);
}

/// An order that the provider will never take is taken back by the sweep.
#[sqlx::test(migrations = "./migrations")]
async fn a_refused_order_is_taken_back(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");
    world.remote.set(Fault::HangBefore);
    let wish = app::orders::place::Wish {
        instance_id: Uuid::now_v7(),
        customer_id: ada,
        plan_name: "basic-monthly".into(),
        trial: None,
        settings: serde_json::json!({}),
        coupon: None,
    };
    let app = world.app.clone();
    let process =
        tokio::spawn(async move { app::orders::place::place_order(&app, wish, clock::now()).await });
    eventually("the order row", Wait::from_secs(5), || async {
        (world.count("orders").await == 1).then_some(())
    })
    .await;
    process.abort();

    world.remote.set(Fault::Refuse);
    sweep::sweep(&world.app, clock::now() + Duration::seconds(30)).await.unwrap();

    assert_eq!(world.count("orders WHERE cancel_reason = 'provider_refused'").await, 1);
    assert!(world.eligibility(ada).await.eligible);
}

/// BIL-08: two calls for one instance at once are one order.
#[sqlx::test(migrations = "./migrations")]
async fn ten_calls_for_one_instance_are_one_subscription(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());

    let answers = futures::future::join_all((0..10).map(|_| world.order(ada, instance))).await;

    let ids: std::collections::HashSet<_> =
        answers.into_iter().map(|answer| answer.unwrap().subscription.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(world.remote.live(), 1);
    assert_eq!(world.count("orders").await, 1);
    assert_eq!(world.announced().await.len(), 1);
}
