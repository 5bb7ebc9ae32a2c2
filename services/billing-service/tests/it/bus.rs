//! Facts of the real broker.

use std::time::Duration;

use billing_service::app;
use billing_service::app::App;
use billing_service::app::clock::BillingClock;
use billing_service::consumer::{Facts, TOPICS};
use contracts::events::{CustomerFact, InstanceFact, topics};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use messaging::topology::{EVENTS, dead_queue, declare_exchanges};
use messaging::{Broker, Consumer, Handler as _, Message};
use runtime::clock;
use serde::Serialize;
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use test_kit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::World;

/// Longest wait for a fact: through the broker, and through a look of each second on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// A consumer with a queue of its own on the shared broker.
struct Bus {
    channel: lapin::Channel,
    queue: &'static str,
    stop: CancellationToken,
    _connection: lapin::Connection,
}

impl Bus {
    async fn start(world: &World) -> Self {
        let broker = Broker::from_url(&test_kit::environment::amqp_url(), "test");
        let connection = broker.connect().await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        declare_exchanges(&channel).await.unwrap();
        let watcher = broker.clone();
        let queue: &'static str = Box::leak(format!("test.facts.{}", Uuid::now_v7()).into_boxed_str());
        let stop = CancellationToken::new();
        let facts = Facts { app: world.app.clone() };
        let consumer = Consumer { queue, topics: TOPICS };
        tokio::spawn(consumer.run(broker, world.pool.clone(), facts, Metrics::new(), stop.clone()));
        eventually("the queue", SOON, || async {
            // A question about a queue that is not there ends the channel, and at times its whole connection.
            let other = watcher.connect().await.ok()?.create_channel().await.ok()?;
            let options = QueueDeclareOptions { passive: true, ..Default::default() };
            let found = other.queue_declare(queue.into(), options, lapin::types::FieldTable::default()).await;
            found.ok().filter(|found| found.consumer_count() > 0).map(drop)
        })
        .await;
        Self { channel, queue, stop, _connection: connection }
    }

    async fn publish(&self, topic: &str, fact: &impl Serialize) {
        self.publish_as(Uuid::now_v7(), topic, fact).await;
    }

    async fn publish_as(&self, id: Uuid, topic: &str, fact: &impl Serialize) {
        let body = serde_json::to_vec(fact).unwrap();
        let properties = BasicProperties::default().with_message_id(id.to_string().into());
        self.channel
            .basic_publish(EVENTS.into(), topic.into(), BasicPublishOptions::default(), &body, properties)
            .await
            .unwrap();
    }

    async fn end(self) {
        self.stop.cancel();
        for queue in [self.queue.to_owned(), dead_queue(self.queue)] {
            self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
    }
}

fn fact(customer_id: Uuid, instance_id: Uuid, subscription_id: &str) -> InstanceFact {
    InstanceFact {
        instance_id,
        customer_id,
        subscription_id: Some(Uuid::parse_str(subscription_id).unwrap()),
        name: "Shop".into(),
        external_url: "http://shop.localhost".into(),
        admin_email: "admin@example.com".into(),
        plan: "basic-monthly".into(),
        operation_id: None,
        reason: None,
        purge_after: None,
        occurred_at: clock::now(),
    }
}

/// Waits for the row. The broker is shared: facts of other tests arrive here too, so that only own ids count.
async fn reach(world: &World, what: String) {
    eventually(&what, SOON, || async { (world.count(&what).await == 1).then_some(()) }).await;
}

/// BIL-07, USR-06: the registration opens the account, once; nothing is asked of others for it.
#[sqlx::test(migrations = "./migrations")]
async fn a_registration_opens_one_account(pool: PgPool) {
    let world = World::start(&pool).await;
    let bus = Bus::start(&world).await;
    let ada = world.directory.add("ada@example.com");
    let fact = CustomerFact { customer_id: ada, occurred_at: clock::now(), detail: None };
    let id = Uuid::now_v7();

    for _ in 0..3 {
        bus.publish_as(id, topics::CUSTOMER_REGISTERED, &fact).await;
    }
    let last = Uuid::now_v7();
    bus.publish_as(last, topics::CUSTOMER_REGISTERED, &fact).await;

    reach(&world, format!("customers WHERE id = '{ada}'")).await;
    reach(&world, format!("inbox WHERE message_id = '{last}'")).await;
    billing_service::sweep::sweep(&world.app, clock::now()).await.unwrap();
    let accounts = world.remote.accounts.lock().unwrap().iter().filter(|id| **id == ada).count();
    assert_eq!(accounts, 1);
    bus.end().await;
}

/// USR-06: without an answer of user-service the account is opened all the same.
#[sqlx::test(migrations = "./migrations")]
async fn a_registration_does_not_wait_for_the_address(pool: PgPool) {
    let world = World::start(&pool).await;
    let bus = Bus::start(&world).await;
    world.directory.set_away(true);
    let customer = Uuid::now_v7();
    let fact = CustomerFact { customer_id: customer, occurred_at: clock::now(), detail: None };

    bus.publish(topics::CUSTOMER_REGISTERED, &fact).await;

    reach(&world, format!("customers WHERE id = '{customer}'")).await;
    bus.end().await;
}

/// BIL-08: created confirms, failed takes back with the trial, terminated ends without it, undeleted brings
/// back.
#[sqlx::test(migrations = "./migrations")]
async fn the_life_of_an_instance_moves_its_subscription(pool: PgPool) {
    let world = World::start(&pool).await;
    let bus = Bus::start(&world).await;
    let (ada, first, second) = (world.directory.add("ada@example.com"), Uuid::now_v7(), Uuid::now_v7());

    let failing = world.order(ada, first).await.unwrap().subscription.unwrap().id;
    bus.publish(topics::INSTANCE_CREATED, &fact(ada, first, &failing)).await;
    reach(&world, "orders WHERE confirmed_at IS NOT NULL".into()).await;
    let looks = tokio::spawn(app::subscriptions::instances::run(world.app.clone(), CancellationToken::new()));
    world.instances.fail(&failing, clock::now() - time::Duration::days(2));
    bus.publish(topics::INSTANCE_PROVISIONING_FAILED, &fact(ada, first, &failing)).await;
    reach(&world, "orders WHERE cancel_reason = 'provisioning_failed'".into()).await;
    assert!(world.eligibility(ada).await.eligible, "a trial that gave nothing is given back");

    let used = world.order(ada, second).await.unwrap().subscription.unwrap().id;
    bus.publish(topics::INSTANCE_CREATED, &fact(ada, second, &used)).await;
    world.instances.set(&used, "terminated");
    bus.publish(topics::INSTANCE_TERMINATED, &fact(ada, second, &used)).await;
    reach(&world, "subscriptions WHERE end_reason = 'terminated'".into()).await;
    assert!(!world.eligibility(ada).await.eligible, "a trial that was used stays used");
    assert_eq!(world.entitlement(&used).await.billing_status, "closed");

    world.instances.set(&used, "starting");
    bus.publish(topics::INSTANCE_UNDELETED, &fact(ada, second, &used)).await;
    reach(&world, "subscriptions WHERE status = 'trialing'".into()).await;
    assert!(world.entitlement(&used).await.may_run);
    assert_eq!(
        world.announced().await,
        [
            topics::SUBSCRIPTION_CREATED,
            topics::SUBSCRIPTION_ENDED,
            topics::SUBSCRIPTION_CREATED,
            topics::SUBSCRIPTION_ENDED,
            topics::SUBSCRIPTION_RESUMED
        ]
    );
    looks.abort();
    bus.end().await;
}

/// REL-03: a fact is handled with the one connection that it holds. Many at once would otherwise wait for
/// each other until the pool's deadline.
#[sqlx::test(migrations = "./migrations")]
async fn a_fact_needs_one_connection(pool: PgPool) {
    let world = World::start(&pool).await;
    let (ada, instance) = (world.directory.add("ada@example.com"), Uuid::now_v7());
    let subscription = world.order(ada, instance).await.unwrap().subscription.unwrap().id;
    sqlx::query("UPDATE billing_clock SET offset_seconds = 86400").execute(&pool).await.unwrap();
    let one = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect_with((*pool.connect_options()).clone())
        .await
        .unwrap();
    let facts = Facts { app: App { pool: one.clone(), clock: BillingClock::default(), ..world.app.clone() } };
    let body = serde_json::to_vec(&fact(ada, instance, &subscription)).unwrap();
    let message = Message { id: Uuid::now_v7(), topic: topics::INSTANCE_CREATED.to_owned(), body };

    let mut only = one.acquire().await.unwrap();
    tokio::time::timeout(SOON, facts.handle(&mut only, &message)).await.expect("in time").unwrap();

    let tomorrow = "orders WHERE confirmed_at > now() + interval '23 hours'";
    assert_eq!(world.count(tomorrow).await, 1, "the clock was read by the same connection");
}
