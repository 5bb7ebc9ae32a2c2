//! Ended instances that come back: by their owner with a new subscription (BIL-25), by an admin with the old
//! one (INS-27).

use contracts::events::{SubscriptionFact, topics};
use contracts::instance::v1 as wire;
use instance_service::sweep;
use runtime::identity::Role;
use sqlx::PgPool;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::messages::{fact, repeat, status, tell};
use crate::support::{Person, World, refused, wish};

/// A running instance that ended.
async fn ended(world: &World, owner: &Person) -> wire::Instance {
    let instance = world.running(owner, "Acme").await;
    world.act(&world.person(Role::Admin), &instance.id, "terminate").await;
    world.finish(&instance.id).await;
    world.get(owner, &instance.id).await
}

async fn reactivate(
    world: &World,
    person: &Person,
    id: &str,
    plan: &str,
) -> Result<wire::ReactivateInstanceResponse, Status> {
    let request = wire::ReactivateInstanceRequest {
        instance_id: id.to_owned(),
        plan_name: plan.to_owned(),
        coupon: String::new(),
    };
    Ok(world.client().reactivate_instance(person.ask(request)).await?.into_inner())
}

/// BIL-25: owner and plan are checked, a new subscription, the same data.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_ended_instance_comes_back_with_its_data_under_a_new_subscription(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let live = world.running(&owner, "Live").await;
    assert_eq!(refused(reactivate(&world, &owner, &live.id, "basic-monthly").await).1, "not_terminated");
    let before = ended(&world, &owner).await;
    for stranger in [world.customer(), world.person(Role::Admin)] {
        let foreign = refused(reactivate(&world, &stranger, &before.id, "basic-monthly").await);
        assert_eq!(foreign.0, Code::NotFound, "it is the owner who begins to pay");
    }
    for plan in ["old-monthly", "no-such-plan"] {
        assert_eq!(refused(reactivate(&world, &owner, &before.id, plan).await).1, "plan_unavailable");
    }
    let orders = world.fakes.state().placed.len();
    let back = reactivate(&world, &owner, &before.id, "premium-monthly").await.unwrap();
    let (instance, operation) = (back.instance.unwrap(), back.operation.unwrap());
    assert_eq!((instance.status.as_str(), operation.kind.as_str()), ("creating", "undelete"));
    assert_ne!(instance.subscription_id, before.subscription_id);
    assert_eq!((instance.plan.as_str(), instance.storage_mib), ("premium-monthly", 50 * 1024));
    assert_eq!((instance.subdomain, instance.purge_after), (before.subdomain, None));
    let placed = world.fakes.state().placed[orders..].to_vec();
    assert_eq!((placed.len(), placed[0].trial), (1, Some(false)));
    assert_eq!(placed[0].replaces_subscription_id, before.subscription_id);
    assert_eq!(refused(reactivate(&world, &owner, &before.id, "basic-monthly").await).1, "not_terminated");
    world.finish(&before.id).await;
    let wishes: i64 =
        world.scalar("SELECT count(*) FROM database_wishes WHERE instance_id = $1", &before.id).await;
    assert_eq!(wishes, 1, "the plan has a database of its own");

    // The late word on the former subscription is about nobody.
    let old = SubscriptionFact {
        subscription_id: before.subscription_id.parse().unwrap(),
        ..fact(&world.get(&owner, &before.id).await, "closed")
    };
    tell(&world, topics::SUBSCRIPTION_ENDED, &old).await;
    assert_eq!(status(&world, &owner, &before.id).await, "running");
}

/// BIL-13, BIL-25: with policy `on_payment` it waits for the money, then the same data comes back; without
/// money its retention goes on as it was.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_reactivation_waits_for_its_payment(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let (paid, unpaid) = (ended(&world, &owner).await, ended(&world, &owner).await);
    world.fakes.state().wait_for_payment = true;
    for instance in [&paid, &unpaid] {
        let back = reactivate(&world, &owner, &instance.id, "basic-monthly").await.unwrap();
        assert_eq!(back.instance.unwrap().status, "pending_payment");
        assert!(back.operation.is_none());
    }
    let waiting = world.get(&owner, &paid.id).await;
    tell(&world, topics::SUBSCRIPTION_CHANGED, &fact(&waiting, "paid")).await;
    let begun = world.get(&owner, &paid.id).await;
    assert_eq!(
        (begun.status.as_str(), begun.current_operation.unwrap().kind.as_str()),
        ("creating", "undelete")
    );
    world.finish(&paid.id).await;
    assert_eq!(status(&world, &owner, &paid.id).await, "running");

    let waiting = world.get(&owner, &unpaid.id).await;
    tell(&world, topics::SUBSCRIPTION_ENDED, &fact(&waiting, "closed")).await;
    world.finish(&unpaid.id).await;
    let over = world.get(&owner, &unpaid.id).await;
    assert_eq!((over.status.as_str(), over.purge_after), ("terminated", unpaid.purge_after));
    sweep::once(&world.app).await.unwrap();
    assert_eq!(world.get(&owner, &unpaid.id).await.current_operation, None, "its data is kept until then");
}

/// BIL-25: nothing comes back after the retention, beyond the quota, onto a volume that the plan does not
/// give, or from an operator's hold.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn what_may_not_come_back_stays_ended(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = ended(&world, &owner).await;
    let again = || reactivate(&world, &owner, &instance.id, "basic-monthly");

    world.sql("UPDATE instances SET storage_mib = 20480 WHERE id = $1", &instance.id).await;
    assert_eq!(refused(again().await).1, "storage_exceeds_plan");
    world
        .sql("UPDATE instances SET storage_mib = 10240, operator_hold = true WHERE id = $1", &instance.id)
        .await;
    assert_eq!(refused(again().await).1, "forbidden", "an end does not wash away abuse");
    world.sql("UPDATE instances SET operator_hold = false WHERE id = $1", &instance.id).await;

    world.fakes.state().max_instances = Some(0);
    let taken_back = world.fakes.state().cancelled.len();
    // The account was read a moment ago and is kept for ten seconds: another owner has no such memory.
    let other = world.customer();
    sqlx::query("UPDATE instances SET customer_id = $2 WHERE id = $1")
        .bind(Uuid::parse_str(&instance.id).unwrap())
        .bind(other.id)
        .execute(&world.pool)
        .await
        .unwrap();
    let full = reactivate(&world, &other, &instance.id, "basic-monthly").await;
    assert_eq!(refused(full).1, "quota_exceeded");
    assert_eq!(world.fakes.state().cancelled.len(), taken_back + 1, "its order was taken back");

    world.sql("UPDATE instances SET purge_after = now() WHERE id = $1", &instance.id).await;
    assert_eq!(refused(reactivate(&world, &other, &instance.id, "basic-monthly").await).1, "purged");
    let word = "INSERT INTO purge_consents (instance_id, given_by, role) VALUES ($1, 'ada', 'admin')";
    world.sql(word, &instance.id).await;
    sweep::once(&world.app).await.unwrap();
    world.finish(&instance.id).await;
    assert_eq!(refused(reactivate(&world, &other, &instance.id, "basic-monthly").await).1, "purged");
}

/// BIL-25: ten calls at once are one way back.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn ten_calls_at_once_are_one_reactivation(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = ended(&world, &owner).await;
    // Billing answers each of them with the same subscription.
    world.fakes.state().subscription = Some(Uuid::now_v7());
    let calls = (0..10).map(|_| reactivate(&world, &owner, &instance.id, "basic-monthly"));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().any(Result::is_ok));
    for refused in answers.into_iter().filter_map(Result::err) {
        assert_eq!(runtime::grpc::Refusal::from_status(&refused).reason, "not_terminated");
    }
    let undeletes: i64 = world
        .scalar("SELECT count(*) FROM operations WHERE instance_id = $1 AND kind = 'undelete'", &instance.id)
        .await;
    assert_eq!(undeletes, 1);
    assert!(world.fakes.state().cancelled.is_empty(), "nobody took the order of the others away");
}

/// INS-27, BIL-24: an admin brings an instance back before anybody here has heard that its subscription ended
/// with it. That late word does not end it again; billing's next word counts.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_late_word_of_the_end_does_not_end_what_an_admin_brought_back(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = ended(&world, &owner).await;
    let undelete = wire::ActOnInstanceRequest {
        reason: Some("agreed by telephone".into()),
        ..wish(&instance.id, "undelete")
    };
    world.try_act(&world.person(Role::Admin), undelete).await.unwrap();
    tell(&world, topics::SUBSCRIPTION_ENDED, &fact(&instance, "closed")).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "creating");
    world.finish(&instance.id).await;
    repeat(&world, topics::SUBSCRIPTION_ENDED, &fact(&instance, "closed")).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "running");

    // Billing heard that it is back, and goes on; what ends then ends.
    tell(&world, topics::SUBSCRIPTION_RESUMED, &fact(&instance, "paid")).await;
    assert_eq!(world.get(&owner, &instance.id).await.billing_status, "paid");
    tell(&world, topics::SUBSCRIPTION_ENDED, &fact(&instance, "closed")).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "terminating");
}
