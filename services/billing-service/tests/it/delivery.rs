//! Facts about instances are hints: what follows is read from instance-service, and what no fact told is
//! found by comparing.

use billing_service::app;
use billing_service::app::subscriptions::instances;
use billing_service::domain::subscription::Subscription;
use billing_service::domain::subscription::{ProvisionPolicy, Status};
use billing_service::store::subscriptions::{self};
use contracts::events::topics;
use runtime::clock;
use sqlx::PgPool;
use time::Duration;
use uuid::Uuid;

use crate::books::{Case, proof};
use crate::life::tell;
use crate::world::World;

async fn row(world: &World, id: &str) -> Subscription {
    subscriptions::find(&world.pool, id.parse().unwrap()).await.unwrap().unwrap()
}

/// BIL-08: a create that failed can be repeated until it is given up; a word that comes late takes nothing
/// from an instance that runs.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn a_failed_create_is_taken_back_when_it_is_given_up(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let (ada, instance, now) = (world.directory.add("ada@example.com"), Uuid::now_v7(), clock::now());
    let id = world.order(ada, instance).await.unwrap().subscription.unwrap().id;
    world.instances.fail(&id, now);
    tell(&world, topics::INSTANCE_PROVISIONING_FAILED, ada, instance, &id).await;
    assert_eq!(row(&world, &id).await.status, Status::Trialing);

    // It was repeated, and runs when the word comes.
    world.instances.set(&id, "running");
    tell(&world, topics::INSTANCE_PROVISIONING_FAILED, ada, instance, &id).await;
    instances::work(&world.app, now + Duration::hours(25)).await.unwrap();
    assert_eq!(row(&world, &id).await.status, Status::Trialing);

    let other = Uuid::now_v7();
    let lost = world.order(ada, other).await.unwrap().subscription.unwrap().id;
    world.instances.fail(&lost, now);
    for (hours, status) in [(1, Status::Active), (23, Status::Active), (25, Status::Ended)] {
        instances::work(&world.app, now + Duration::hours(hours)).await.unwrap();
        assert_eq!(row(&world, &lost).await.status, status, "after {hours} hours, without any fact");
    }
    assert_eq!(world.count("invoices WHERE status = 'void'").await, 1);
    proof(&pool).await;
}

/// BIL-24, INS-27, REL-04: with every fact lost, the comparison ends what ended and brings back what is back.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn lost_facts_are_found_by_comparing(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let (ada, instance, now) = (world.directory.add("ada@example.com"), Uuid::now_v7(), clock::now());
    let id = world.order(ada, instance).await.unwrap().subscription.unwrap().id;
    sqlx::query("UPDATE orders SET confirmed_at = now()").execute(&pool).await.unwrap();
    world.instances.set(&id, "terminated");
    let later = |minutes| now + Duration::minutes(minutes);
    assert!(instances::sweep(&world.app, later(1)).await.unwrap());
    assert!(!instances::sweep(&world.app, later(2)).await.unwrap(), "each five minutes");
    instances::work(&world.app, later(2)).await.unwrap();
    assert_eq!(row(&world, &id).await.end_reason.as_deref(), Some("terminated"));

    world.instances.set(&id, "running");
    world.instances.live(instance, ada, Some(id.parse().unwrap()));
    // What has just ended is still being taken down.
    sqlx::query("UPDATE subscriptions SET ended_at = ended_at - interval '2 hours'")
        .execute(&pool)
        .await
        .unwrap();
    assert!(instances::sweep(&world.app, later(10)).await.unwrap());
    instances::work(&world.app, later(10)).await.unwrap();
    assert_eq!(row(&world, &id).await.status, Status::Trialing);
}

/// BIL-24, BIL-25: an order that was taken back, and whose instance came back all the same, is as alive as its
/// subscription: the next end is seen.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn who_came_back_can_end_again(pool: PgPool) {
    let world = World::ledger(&pool, ProvisionPolicy::OnInvoice).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());
    let id = world.order(ada, instance).await.unwrap().subscription.unwrap().id;
    app::orders::reverse::cancel_order(&world.app, instance, "terminated", clock::now()).await.unwrap();
    assert_eq!(row(&world, &id).await.status, Status::Ended);
    world.instances.set(&id, "running");
    tell(&world, topics::INSTANCE_UNDELETED, ada, instance, &id).await;
    assert_eq!(row(&world, &id).await.status, Status::Trialing);
    assert_eq!(world.count("orders WHERE state = 'cancelled'").await, 1);

    world.instances.set(&id, "terminated");
    tell(&world, topics::INSTANCE_TERMINATED, ada, instance, &id).await;
    let ended = row(&world, &id).await;
    assert_eq!((ended.status, ended.end_reason.as_deref()), (Status::Ended, Some("terminated")));
    proof(&pool).await;
}

/// BIL-13: an instance that is terminated within a day leaves no bill; what was paid stays paid, and a later
/// end owes what it used.
#[sqlx::test(migrator = "billing_service::MIGRATIONS")]
async fn who_leaves_at_once_owes_nothing(pool: PgPool) {
    let case = Case::begin(&pool, ProvisionPolicy::OnInvoice, "basic-monthly", false).await;
    let (id, instance) = (case.subscription.to_string(), case.now().await.instance_id);
    case.world.instances.set(&id, "terminated");
    tell(&case.world, topics::INSTANCE_TERMINATED, case.customer, instance, &id).await;
    let [first] = case.invoices().await.try_into().unwrap();
    assert_eq!((first.status.as_str(), case.now().await.status), ("void", Status::Ended));

    // Brought back, it is billed from then on.
    case.world.instances.set(&id, "starting");
    tell(&case.world, topics::INSTANCE_UNDELETED, case.customer, instance, &id).await;
    case.look(0).await;
    let invoices = case.invoices().await;
    assert_eq!((invoices.len(), invoices[1].status.as_str(), invoices[1].total.minor()), (2, "open", 900));

    let kept = case.world.order_plan(case.customer, Uuid::now_v7(), "basic-monthly", Some(false)).await;
    let kept = kept.unwrap().subscription.unwrap().id;
    sqlx::query("UPDATE subscriptions SET created_at = created_at - interval '25 hours' WHERE id = $1::uuid")
        .bind(&kept)
        .execute(&pool)
        .await
        .unwrap();
    let mut tx = pool.begin().await.unwrap();
    let now = clock::now();
    app::subscriptions::end::end_subscription(
        &mut tx,
        &case.world.app,
        kept.parse().unwrap(),
        "terminated",
        now,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(case.world.count("invoices WHERE status = 'open'").await, 2, "it was used for a day");
    case.proof().await;
}
