//! Events of billing and database-service, and the sweeps behind them (REL-03, REL-04).

use std::time::Duration;

use contracts::events::{PoolFact, SubscriptionFact, topics};
use instance_service::app::news;
use instance_service::consumer::{SUBSCRIPTIONS, Servers, Subscriptions};
use instance_service::sweep;
use messaging::{Broker, Consumer, Handler as _, Message, Relay};
use runtime::identity::Role;
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use test_kit::{environment, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Person, World, refused, wish};

pub(crate) fn fact(instance: &contracts::instance::v1::Instance, billing_status: &str) -> SubscriptionFact {
    SubscriptionFact {
        subscription_id: instance.subscription_id.parse().unwrap(),
        customer_id: instance.customer_id.parse().unwrap(),
        instance_id: instance.id.parse().unwrap(),
        billing_status: billing_status.into(),
        reason: Some("overdue".into()),
        occurred_at: runtime::clock::now(),
    }
}

/// Billing decides, and tells it.
pub(crate) async fn tell(world: &World, topic: &str, fact: &SubscriptionFact) {
    {
        let mut state = world.fakes.state();
        state.may_run = matches!(topic, topics::SUBSCRIPTION_RESUMED | topics::SUBSCRIPTION_CHANGED);
        state.ended = topic == topics::SUBSCRIPTION_ENDED;
    }
    repeat(world, topic, fact).await;
}

/// The fact alone comes; billing says what it said last.
pub(crate) async fn repeat(world: &World, topic: &str, fact: &SubscriptionFact) {
    let message =
        Message { id: Uuid::now_v7(), topic: topic.into(), body: serde_json::to_vec(fact).unwrap() };
    let mut tx = world.pool.begin().await.unwrap();
    Subscriptions.handle(&mut tx, &message).await.unwrap();
    tx.commit().await.unwrap();
    news::round(&world.app).await.unwrap();
}

pub(crate) async fn status(world: &World, person: &Person, id: &str) -> String {
    world.get(person, id).await.status
}

/// INS-21, INS-24, BIL-16: overdue suspends, paid resumes, and each word counts once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn billing_suspends_and_resumes(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    for _ in 0..2 {
        tell(&world, topics::SUBSCRIPTION_SUSPENDED, &fact(&instance, "payment_required")).await;
    }
    assert_eq!(status(&world, &owner, &instance.id).await, "stopping");
    let outcome = refused(world.try_act(&owner, wish(&instance.id, "start")).await);
    assert_eq!(outcome.1, "payment_required", "while it is being suspended");
    world.finish(&instance.id).await;
    tell(&world, topics::SUBSCRIPTION_SUSPENDED, &fact(&instance, "payment_required")).await;
    let suspended = world.get(&owner, &instance.id).await;
    assert_eq!(
        (suspended.status.as_str(), suspended.billing_status.as_str()),
        ("suspended", "payment_required")
    );
    assert_eq!(suspended.suspended_reason, "an invoice is overdue");
    assert_eq!(refused(world.try_act(&owner, wish(&instance.id, "start")).await).1, "payment_required");
    let admin = world.person(Role::Admin);
    assert_eq!(refused(world.try_act(&admin, wish(&instance.id, "unsuspend")).await).1, "payment_required");

    tell(&world, topics::SUBSCRIPTION_RESUMED, &fact(&instance, "paid")).await;
    tell(&world, topics::SUBSCRIPTION_RESUMED, &fact(&instance, "paid")).await;
    world.finish(&instance.id).await;
    let back = world.get(&owner, &instance.id).await;
    assert_eq!((back.status.as_str(), back.billing_status.as_str()), ("running", "paid"));
    let kinds: Vec<String> = world
        .scalar(
            "SELECT array_agg(kind ORDER BY created_at, id) FROM operations WHERE instance_id = $1",
            &instance.id,
        )
        .await;
    assert_eq!(kinds, ["create", "suspend", "unsuspend"]);
}

/// INS-24, REL-04: a suspension that comes at a bad moment is kept, and a sweep does it.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_suspension_waits_for_its_moment(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.create(&owner, "Acme").await;
    tell(&world, topics::SUBSCRIPTION_SUSPENDED, &fact(&instance, "payment_required")).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(status(&world, &owner, &instance.id).await, "creating");
    world.finish(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(status(&world, &owner, &instance.id).await, "stopping");

    // Paid before it was off: it comes back by itself.
    tell(&world, topics::SUBSCRIPTION_RESUMED, &fact(&instance, "paid")).await;
    world.finish(&instance.id).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "suspended");
    sweep::once(&world.app).await.unwrap();
    world.finish(&instance.id).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "running");
}

/// BIL-24, INS-26: the end of a subscription terminates; an older subscription decides nothing.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_ended_subscription_terminates_its_instance(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    let older = SubscriptionFact { subscription_id: Uuid::now_v7(), ..fact(&instance, "closed") };
    tell(&world, topics::SUBSCRIPTION_ENDED, &older).await;
    let unknown = SubscriptionFact { instance_id: Uuid::now_v7(), ..older };
    tell(&world, topics::SUBSCRIPTION_ENDED, &unknown).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "running");
    for _ in 0..2 {
        tell(&world, topics::SUBSCRIPTION_ENDED, &fact(&instance, "closed")).await;
    }
    let ended = world.get(&owner, &instance.id).await;
    assert_eq!((ended.status.as_str(), ended.billing_status.as_str()), ("terminating", "closed"));
    assert!(ended.purge_after.is_some());
}

/// BIL-13, REL-04: a payment begins the provisioning, also when its message is lost.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_paid_order_is_provisioned(pool: PgPool) {
    let world = World::start(pool).await;
    world.fakes.state().wait_for_payment = true;
    let owner = world.customer();
    let (told, lost) = (world.create(&owner, "told one").await, world.create(&owner, "lost one").await);
    sweep::once(&world.app).await.unwrap();
    assert_eq!(status(&world, &owner, &lost.id).await, "pending_payment");
    tell(&world, topics::SUBSCRIPTION_RESUMED, &fact(&told, "paid")).await;
    assert_eq!(status(&world, &owner, &told.id).await, "creating");
    world.fakes.state().may_run = true;
    sweep::once(&world.app).await.unwrap();
    let begun = world.get(&owner, &lost.id).await;
    assert_eq!((begun.status.as_str(), begun.billing_status.as_str()), ("creating", "paid"));
    assert_eq!(begun.current_operation.unwrap().kind, "create");
}

/// BIL-13: an order that was never paid gives its name back at once.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn an_unpaid_order_leaves_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    world.fakes.state().wait_for_payment = true;
    let owner = world.customer();
    let instance = world.create(&owner, "unpaid").await;
    tell(&world, topics::SUBSCRIPTION_ENDED, &fact(&instance, "closed")).await;
    world.finish(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    world.finish(&instance.id).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "purged");
}

/// INS-26: after the retention a sweep purges; after a failure it rests.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_purge_begins_by_itself(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    let end = contracts::instance::v1::ActOnInstanceRequest {
        final_backup: Some(false),
        ..wish(&instance.id, "terminate")
    };
    world.try_act(&world.person(Role::Admin), end).await.unwrap();
    world.finish(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(world.get(&owner, &instance.id).await.current_operation, None, "it is kept for 30 days");
    world.sql("UPDATE instances SET purge_after = now() WHERE id = $1", &instance.id).await;
    sweep::once(&world.app).await.unwrap();
    sweep::once(&world.app).await.unwrap();
    world.fail(&instance.id).await;
    sweep::once(&world.app).await.unwrap();
    assert_eq!(world.get(&owner, &instance.id).await.current_operation, None, "not again and again");
    world
        .sql("UPDATE operations SET finished_at = now() - interval '2 h' WHERE instance_id = $1 AND kind = 'purge'", &instance.id)
        .await;
    sweep::once(&world.app).await.unwrap();
    world.finish(&instance.id).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "purged");
}

fn pool_fact(version: i64, status: &str) -> PoolFact {
    PoolFact {
        id: Uuid::from_u128(7),
        name: "postgres-pool-1".into(),
        server_type: "shared".into(),
        status: status.into(),
        health_status: "healthy".into(),
        host: "h".into(),
        port: 5432,
        admin_user: "pool_admin".into(),
        current_instances: 1,
        max_instances: 50,
        priority: 10,
        allocation_strategy: "automatic".into(),
        postgres_version: "15".into(),
        health_check_failures: 0,
        last_health_check: None,
        version,
    }
}

/// DBS-36: the runbook's query has a row, and an older fact never overwrites a newer one.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn servers_are_copied_by_version(pool: PgPool) {
    for (version, status) in [(2, "active"), (1, "provisioning"), (3, "full")] {
        let body = serde_json::to_vec(&pool_fact(version, status)).unwrap();
        let message = Message { id: Uuid::now_v7(), topic: topics::POOL_CHANGED.into(), body };
        let mut tx = pool.begin().await.unwrap();
        Servers.handle(&mut tx, &message).await.unwrap();
        tx.commit().await.unwrap();
        let expected = if version == 1 { "active" } else { status };
        let row: (String, String, String, String, i32, i32) = sqlx::query_as(
            "SELECT name, admin_user, status, health_status, current_instances, max_instances FROM db_servers ORDER BY name",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(
            row,
            ("postgres-pool-1".into(), "pool_admin".into(), expected.into(), "healthy".into(), 1, 50)
        );
    }
}

/// REL-02, REL-03: through the real broker, once, although it is told twice.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn events_arrive_through_the_broker(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    let broker = Broker::from_url(&environment::amqp_url(), "instance-service-test");
    let (metrics, stop) = (Metrics::new(), CancellationToken::new());
    // Its own queue: a stack that runs beside the tests must not take the message away.
    let queue: &'static str = Box::leak(format!("instance-service.test-{}", Uuid::now_v7()).into_boxed_str());
    let consumer = Consumer { queue, topics: SUBSCRIPTIONS.topics };
    tokio::spawn(consumer.run(
        broker.clone(),
        world.pool.clone(),
        Subscriptions,
        metrics.clone(),
        stop.clone(),
    ));
    tokio::spawn(news::run(world.app.clone(), stop.clone()));
    tokio::spawn(world.app.wakeups.clone().run(world.pool.clone()));
    tokio::spawn(Relay::new(&world.pool, &broker, &metrics).run(stop.clone()));
    let connection =
        lapin::Connection::connect(&environment::amqp_url(), lapin::ConnectionProperties::default())
            .await
            .unwrap();
    wait_for(queue).await;
    for _ in 0..2 {
        let mut connection = world.pool.acquire().await.unwrap();
        let suspended = fact(&instance, "payment_required");
        let aggregate = suspended.instance_id;
        messaging::outbox::enqueue(&mut connection, topics::SUBSCRIPTION_SUSPENDED, aggregate, &suspended)
            .await
            .unwrap();
    }

    eventually("the suspension", Duration::from_secs(20), || async {
        (status(&world, &owner, &instance.id).await == "stopping").then_some(())
    })
    .await;

    let unsent = "SELECT count(*) FROM outbox WHERE sent_at IS NULL AND aggregate_id = $1";
    eventually("the outbox to be empty", Duration::from_secs(20), || async {
        (world.scalar::<i64>(unsent, &instance.id).await == 0).then_some(())
    })
    .await;
    let suspends: i64 = world
        .scalar("SELECT count(*) FROM operations WHERE instance_id = $1 AND kind = 'suspend'", &instance.id)
        .await;
    assert_eq!(suspends, 1);
    stop.cancel();
    let channel = connection.create_channel().await.unwrap();
    for name in [queue.to_owned(), messaging::topology::dead_queue(queue)] {
        channel.queue_delete(name.into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    }
}

/// The queue is there before the first event: one without a route would only be kept for the audit.
async fn wait_for(queue: &str) {
    let broker = Broker::from_url(&test_kit::environment::amqp_url(), "test");
    eventually("the queue", Duration::from_secs(20), || async {
        // A question about a queue that is not there ends the channel, and at times its whole connection.
        let channel = broker.connect().await.ok()?.create_channel().await.ok()?;
        let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(queue.into(), passive, lapin::types::FieldTable::default()).await.ok()?;
        Some(())
    })
    .await;
}

/// BIL-16, REL-03: a fact is a hint. What billing says now counts, whatever comes late or twice.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn late_facts_change_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    world.fakes.state().may_run = true;
    for topic in [topics::SUBSCRIPTION_SUSPENDED, topics::SUBSCRIPTION_ENDED, topics::SUBSCRIPTION_CREATED] {
        repeat(&world, topic, &fact(&instance, "payment_required")).await;
    }
    let still = world.get(&owner, &instance.id).await;
    assert_eq!((still.status.as_str(), still.billing_status.as_str()), ("running", "paid"));
    assert_eq!(still.current_operation, None);
}

/// BIL-14, BIL-16, REL-04: the round over live instances finds what messages lost, both ways.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_sweep_follows_billing_without_messages(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    world.act(&owner, &instance.id, "stop").await;
    world.finish(&instance.id).await;
    sweep::follow_billing(&world.app, Uuid::nil()).await.unwrap();
    world.finish(&instance.id).await;
    let suspended = world.get(&owner, &instance.id).await;
    assert_eq!(suspended.status, "suspended");
    assert_eq!(suspended.suspended_reason, "an invoice is overdue", "as the fact would have told it");
    world.fakes.state().may_run = true;
    sweep::follow_billing(&world.app, Uuid::nil()).await.unwrap();
    world.finish(&instance.id).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "stopped", "as it was before");
    world.fakes.state().may_run = false;
    world.fakes.state().ended = true;
    sweep::follow_billing(&world.app, Uuid::nil()).await.unwrap();
    assert_eq!(status(&world, &owner, &instance.id).await, "terminating");
    let why = "SELECT parameters->>'reason' FROM operations WHERE instance_id = $1 AND kind = 'terminate'";
    assert_eq!(world.scalar::<String>(why, &instance.id).await, "the subscription was cancelled");
    world.finish(&instance.id).await;
    let undelete = contracts::instance::v1::ActOnInstanceRequest {
        reason: Some("agreed by telephone".into()),
        ..wish(&instance.id, "undelete")
    };
    world.try_act(&world.person(Role::Admin), undelete).await.unwrap();
    world.finish(&instance.id).await;
    sweep::follow_billing(&world.app, Uuid::nil()).await.unwrap();
    assert_eq!(status(&world, &owner, &instance.id).await, "running", "what an admin brought back stays");
}

/// BIL-35: billing that does not answer stops nobody.
#[sqlx::test(migrator = "instance::MIGRATIONS")]
async fn a_billing_that_is_away_stops_nothing(pool: PgPool) {
    let world = World::start(pool).await;
    let owner = world.customer();
    let instance = world.running(&owner, "Acme").await;
    world.fakes.state().billing_away = true;
    sweep::follow_billing(&world.app, Uuid::nil()).await.unwrap();
    repeat(&world, topics::SUBSCRIPTION_SUSPENDED, &fact(&instance, "payment_required")).await;
    assert_eq!(status(&world, &owner, &instance.id).await, "running");

    // The fact was kept, and is followed when billing is back.
    world.fakes.state().billing_away = false;
    world.sql("UPDATE billing_news SET not_before = now() WHERE instance_id = $1", &instance.id).await;
    news::round(&world.app).await.unwrap();
    assert_eq!(status(&world, &owner, &instance.id).await, "stopping");
    let left: i64 =
        world.scalar("SELECT count(*) FROM billing_news WHERE instance_id = $1", &instance.id).await;
    assert_eq!(left, 0);
}
