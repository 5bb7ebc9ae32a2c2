//! Orders and their trials.

use billing_service::domain::subscription::ProvisionPolicy;
use billing_service::{app, store, sweep};
use contracts::events::topics;
use futures::future::join_all;
use runtime::clock;
use runtime::grpc::Refusal;
use sqlx::PgPool;
use time::Duration;
use tonic::Code;
use uuid::Uuid;

use crate::world::World;

/// BIL-08, BIL-09: settings are kept, the trial begins now, and the same order again is the same
/// subscription.
#[sqlx::test(migrations = "./migrations")]
async fn an_order_is_idempotent_by_instance_and_keeps_its_settings(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());

    let first = world.order(ada, instance).await.unwrap();
    let again = world.order(ada, instance).await.unwrap();

    assert_eq!(first.subscription, again.subscription);
    let subscription = first.subscription.unwrap();
    assert_eq!((subscription.status.as_str(), first.billing_status.as_str()), ("trialing", "trial"));
    assert!(first.provision_now);
    assert_eq!(subscription.trial_ends_at, subscription.current_period_end);
    let settings: serde_json::Value =
        sqlx::query_scalar("SELECT settings FROM orders").fetch_one(&pool).await.unwrap();
    assert_eq!(settings, serde_json::json!({"name": "Shop"}));
    assert_eq!(world.count("subscriptions").await, 1);
    assert_eq!(world.announced().await, [topics::SUBSCRIPTION_CREATED]);
    assert_eq!(world.remote.live(), 1);
}

/// BIL-09: twenty orders of one customer at once: one trial, nineteen paid.
#[sqlx::test(migrations = "./migrations")]
async fn twenty_orders_at_once_have_one_trial(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");

    let placed = join_all((0..20).map(|_| world.order(ada, Uuid::now_v7()))).await;

    let placed: Vec<_> = placed.into_iter().map(Result::unwrap).collect();
    let trials = placed.iter().filter(|answer| answer.billing_status == "trial").count();
    let refused = placed.iter().filter(|answer| answer.trial_reason == "already_used").count();
    assert_eq!((trials, refused), (1, 19));
    assert_eq!(world.count("trial_grants").await, 1);
    assert_eq!(world.count("subscriptions WHERE status = 'active'").await, 19);
}

/// BIL-09: another account with the same mailbox gets no second trial, and SQL itself forbids it.
#[sqlx::test(migrations = "./migrations")]
async fn one_mailbox_has_one_trial(pool: PgPool) {
    let world = World::start(&pool).await;
    let first = world.directory.add("ada.lovelace@gmail.com");
    let second = world.directory.add("AdaLovelace+again@googlemail.com");
    world.order(first, Uuid::now_v7()).await.unwrap();

    let answer = world.order(second, Uuid::now_v7()).await.unwrap();

    assert_eq!((answer.billing_status.as_str(), answer.trial_reason.as_str()), ("paid", "already_used"));
    let forced = sqlx::query(
        "INSERT INTO trial_grants (subscription_id, customer_id, email_hash, plan_name)
         SELECT gen_random_uuid(), $1, email_hash, 'basic-monthly' FROM trial_grants",
    )
    .bind(second)
    .execute(&pool)
    .await
    .unwrap_err();
    assert!(forced.as_database_error().unwrap().is_unique_violation());
}

/// BIL-09
#[sqlx::test(migrations = "./migrations")]
async fn a_trial_is_not_forced_on_anybody_and_not_given_where_there_is_none(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");

    let unwanted = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    assert_eq!((unwanted.billing_status.as_str(), unwanted.trial_reason.as_str()), ("paid", ""));
    let none = world.order_plan(ada, Uuid::now_v7(), "premium-annual", Some(true)).await.unwrap_err();
    assert_eq!(Refusal::from_status(&none).reason, "trial_not_available");
    let paying = world.order(ada, Uuid::now_v7()).await.unwrap();
    assert_eq!(
        (paying.billing_status.as_str(), paying.trial_reason.as_str()),
        ("paid", "has_paid_subscription")
    );
    assert_eq!(world.count("trial_grants").await, 0);
}

/// BIL-10: nobody is charged because a look-up failed, and nobody gets a trial by it.
#[sqlx::test(migrations = "./migrations")]
async fn an_order_whose_trial_cannot_be_checked_is_refused_whole(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");
    world.directory.set_away(true);

    let refused = world.order(ada, Uuid::now_v7()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(Refusal::from_status(&refused).reason, "unavailable");
    assert_eq!(world.eligibility(ada).await.reason, "unavailable");
    assert_eq!(world.count("orders").await, 0);

    let paid = world.order_plan(ada, Uuid::now_v7(), "basic-monthly", Some(false)).await.unwrap();
    assert_eq!(paid.billing_status, "paid");
}

/// BIL-13
#[sqlx::test(migrations = "./migrations")]
async fn with_on_payment_an_unpaid_order_waits_a_trial_does_not_and_seven_days_end_it(pool: PgPool) {
    let world = World::start_with(&pool, ProvisionPolicy::OnPayment).await;
    let ada = world.directory.add("ada@example.com");
    let trial = world.order(ada, Uuid::now_v7()).await.unwrap();
    assert!(trial.provision_now);

    let unpaid = world.order(ada, Uuid::now_v7()).await.unwrap();

    assert_eq!((unpaid.billing_status.as_str(), unpaid.provision_now), ("payment_required", false));
    let subscription = unpaid.subscription.unwrap();
    assert_eq!(subscription.status, "pending");
    let entitled = world.entitlement(&subscription.id).await;
    assert_eq!((entitled.may_run, entitled.reason.as_str()), (false, "payment_required"));
    for id in [&subscription.id, &trial.subscription.unwrap().id] {
        world.instances.add(id);
    }

    sweep::sweep(&world.app, clock::now() + Duration::days(6)).await.unwrap();
    assert_eq!(world.entitlement(&subscription.id).await.billing_status, "payment_required");
    sweep::sweep(&world.app, clock::now() + Duration::days(7) + Duration::minutes(1)).await.unwrap();
    let entitled = world.entitlement(&subscription.id).await;
    assert_eq!(
        (entitled.billing_status.as_str(), entitled.reason.as_str()),
        ("closed", "subscription_ended")
    );
    // The trial beside it has its own facts on that day.
    let announced = world.announced().await;
    for topic in [topics::SUBSCRIPTION_EXPIRED, topics::SUBSCRIPTION_ENDED] {
        assert_eq!(announced.iter().filter(|announced| *announced == topic).count(), 1, "{topic}");
    }
}

/// BIL-08: an order that could not be stored leaves nothing behind, and its trial is free again.
#[sqlx::test(migrations = "./migrations")]
async fn a_cancelled_order_gives_its_trial_back(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());
    world.order(ada, instance).await.unwrap();

    world.cancel(instance).await.unwrap();
    world.cancel(instance).await.unwrap();
    world.cancel(Uuid::now_v7()).await.unwrap();

    assert_eq!(world.remote.live(), 0);
    assert_eq!(world.count("orders WHERE state = 'cancelled' AND NOT provider_cancel_due").await, 1);
    assert_eq!(world.announced().await, [topics::SUBSCRIPTION_CREATED, topics::SUBSCRIPTION_ENDED]);
    assert!(world.eligibility(ada).await.eligible);
    let again = world.order(ada, instance).await.unwrap();
    assert_eq!(again.billing_status, "trial");
}

/// A late compensation must not take an instance's subscription.
#[sqlx::test(migrations = "./migrations")]
async fn a_confirmed_order_cannot_be_cancelled(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());
    world.order(ada, instance).await.unwrap();
    store::orders::confirm(&pool, instance, clock::now()).await.unwrap();

    let refused = world.cancel(instance).await.unwrap_err();

    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(world.remote.live(), 1);
}

/// REL-04: the announcement of the instance is lost; after a quarter of an hour billing asks.
#[sqlx::test(migrations = "./migrations")]
async fn an_unconfirmed_order_is_kept_or_taken_back_after_asking(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, bob) = (world.directory.add("ada@example.com"), world.directory.add("bob@example.com"));
    let kept = world.order(ada, Uuid::now_v7()).await.unwrap().subscription.unwrap();
    let lost = world.order(bob, Uuid::now_v7()).await.unwrap().subscription.unwrap();
    world.instances.add(&kept.id);
    let start = clock::now();

    sweep::sweep(&world.app, start + Duration::minutes(14)).await.unwrap();
    assert_eq!(world.count("orders WHERE confirmed_at IS NULL AND state = 'subscribed'").await, 2);
    world.instances.set_away(true);
    sweep::sweep(&world.app, start + Duration::minutes(16)).await.unwrap();
    assert_eq!(world.count("orders WHERE state = 'cancelled'").await, 0, "no answer is no absence");
    world.instances.set_away(false);
    sweep::sweep(&world.app, start + Duration::minutes(18)).await.unwrap();

    assert!(world.entitlement(&kept.id).await.may_run);
    assert_eq!(world.entitlement(&lost.id).await.reason, "subscription_ended");
    assert!(world.eligibility(bob).await.eligible, "the trial is free again");
    assert!(!world.eligibility(ada).await.eligible);
    assert_eq!(world.remote.live(), 1);
}

/// BIL-01: a subscription keeps what it bought; a new one gets the new entitlement.
#[sqlx::test(migrations = "./migrations")]
async fn a_subscription_keeps_the_entitlement_that_it_bought(pool: PgPool) {
    let world = World::start(&pool).await;
    let ada = world.directory.add("ada@example.com");
    let old = world.order(ada, Uuid::now_v7()).await.unwrap().subscription.unwrap();
    let mut catalogue = billing_service::domain::catalogue::Catalogue::shipped(14).unwrap();
    catalogue.plans[0].entitlement.cpu_millis = 500;
    app::catalogue::apply_catalogue(&pool, &catalogue, true).await.unwrap();

    let new = world.order(ada, Uuid::now_v7()).await.unwrap();

    assert_eq!(world.entitlement(&old.id).await.plan.unwrap().limits.unwrap().cpu_millis, 1000);
    assert_eq!(new.plan.unwrap().limits.unwrap().cpu_millis, 500);
}
