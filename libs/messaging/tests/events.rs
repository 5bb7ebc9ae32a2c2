//! Outbox → broker → inbox against a real PostgreSQL and a real RabbitMQ.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use messaging::topology::{self, EVENTS};
use messaging::{Broker, Consumer, Failure, Handler, Message, Relay, outbox, redrive};
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgConnection, PgPool};
use telemetry::metrics::Metrics;
use test_kit::{environment, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
struct Fact {
    number: i64,
}

/// Writes each number into a table in the consumer's transaction; fails as told.
struct Recorder {
    tries: Arc<AtomicUsize>,
    fail_first: usize,
    fail_as: fn(anyhow::Error) -> Failure,
    poison: Option<i64>,
}

impl Handler for Recorder {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let fact: Fact = message.payload()?;
        if !message.topic.starts_with("test.") {
            return Err(Failure::Dead(anyhow!("{} is no topic", message.topic)));
        }
        if self.poison == Some(fact.number) {
            return Err(Failure::Dead(anyhow!("poison")));
        }
        if self.tries.fetch_add(1, Ordering::SeqCst) < self.fail_first {
            return Err((self.fail_as)(anyhow!("not now")));
        }
        sqlx::query("INSERT INTO effects (number) VALUES ($1)").bind(fact.number).execute(connection).await?;
        Ok(())
    }
}

/// One queue of this test with its relay and consumer; removed by [`Bench::end`].
struct Bench {
    pool: PgPool,
    broker: Broker,
    channel: Channel,
    queue: &'static str,
    topic: &'static str,
    stop: CancellationToken,
    metrics: Metrics,
}

impl Bench {
    async fn new(pool: PgPool) -> Self {
        let bench = Self::without_queue(pool).await;
        topology::declare_queue(&bench.channel, bench.queue, &[bench.topic]).await.unwrap();
        bench
    }

    async fn without_queue(pool: PgPool) -> Self {
        sqlx::query("CREATE TABLE effects (number bigint)").execute(&pool).await.unwrap();
        let broker = Broker::from_url(&environment::amqp_url(), "test");
        let channel = broker.connect().await.unwrap().create_channel().await.unwrap();
        let name = Uuid::now_v7().simple().to_string();
        // Names live as long as the process; a test makes one.
        let queue = Box::leak(format!("test.{name}").into_boxed_str());
        let topic = Box::leak(format!("test.{name}.v1").into_boxed_str());
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        Self { pool, broker, channel, queue, topic, stop, metrics }
    }

    fn relay(&self) {
        let relay = Relay::new(&self.pool, &self.broker, &Metrics::new());
        tokio::spawn(relay.run(self.stop.clone()));
    }

    fn consumer(&self) -> Consumer {
        Consumer { queue: self.queue, topics: Box::leak(vec![self.topic].into_boxed_slice()) }
    }

    fn consume(&self, recorder: Recorder) {
        self.consume_from(self.pool.clone(), recorder, self.stop.clone());
    }

    fn consume_from(&self, pool: PgPool, recorder: Recorder, stop: CancellationToken) {
        let run = self.consumer().run(self.broker.clone(), pool, recorder, self.metrics.clone(), stop);
        tokio::spawn(run);
    }

    /// Waits until the consumer has had this outcome.
    async fn counted(&self, outcome: &str) {
        eventually("the outcome", SOON, || async { self.has_counted(outcome).then_some(()) }).await;
    }

    fn has_counted(&self, outcome: &str) -> bool {
        self.metrics.encode().unwrap().contains(&format!("outcome=\"{outcome}\""))
    }

    async fn announce(&self, number: i64) -> Uuid {
        let mut tx = self.pool.begin().await.unwrap();
        let id = outbox::enqueue(&mut tx, self.topic, Uuid::now_v7(), &Fact { number }).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    async fn effects(&self) -> Vec<i64> {
        sqlx::query_scalar("SELECT number FROM effects ORDER BY number").fetch_all(&self.pool).await.unwrap()
    }

    async fn effects_become(&self, wanted: &[i64]) {
        eventually("the effects", SOON, || async { (self.effects().await == wanted).then_some(()) }).await;
    }

    async fn end(self) {
        self.stop.cancel();
        for queue in [self.queue.to_owned(), topology::dead_queue(self.queue)] {
            self.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        }
    }
}

fn recorder() -> Recorder {
    Recorder { tries: Arc::default(), fail_first: 0, fail_as: Failure::Retry, poison: None }
}

/// REL-02: what a transaction announced arrives and is marked sent; what it took back never leaves.
#[sqlx::test(migrations = "./migrations")]
async fn an_event_arrives_only_when_its_transaction_commits(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.relay();
    bench.consume(recorder());
    let mut taken_back = bench.pool.begin().await.unwrap();
    outbox::enqueue(&mut taken_back, bench.topic, Uuid::now_v7(), &Fact { number: 1 }).await.unwrap();
    taken_back.rollback().await.unwrap();

    bench.announce(2).await;
    bench.announce(3).await;

    bench.effects_become(&[2, 3]).await;
    let unsent: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
        .fetch_one(&bench.pool)
        .await
        .unwrap();
    assert_eq!(unsent, 0);
    bench.end().await;
}

/// REL-03: the same message delivered five times has one effect.
#[sqlx::test(migrations = "./migrations")]
async fn a_redelivered_message_has_one_effect(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.consume(recorder());
    let id = Uuid::now_v7();

    for _ in 0..5 {
        let properties = BasicProperties::default().with_message_id(id.to_string().into());
        let body = serde_json::to_vec(&Fact { number: 7 }).unwrap();
        bench
            .channel
            .basic_publish(
                EVENTS.into(),
                bench.topic.into(),
                BasicPublishOptions::default(),
                &body,
                properties,
            )
            .await
            .unwrap();
    }
    bench.relay();
    bench.announce(8).await;

    bench.effects_become(&[7, 8]).await;
    bench.end().await;
}

/// REL-03: a failure that passes is tried again; nothing of the failed try stays.
#[sqlx::test(migrations = "./migrations")]
async fn a_message_is_tried_again_after_a_passing_failure(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.relay();
    let tries = Arc::new(AtomicUsize::new(0));
    bench.consume(Recorder { tries: Arc::clone(&tries), fail_first: 1, ..recorder() });

    bench.announce(5).await;

    bench.effects_become(&[5]).await;
    assert_eq!(tries.load(Ordering::SeqCst), 2);
    bench.end().await;
}

/// REL-03: a poison message goes to the dead queue with its reason; others flow on.
#[sqlx::test(migrations = "./migrations")]
async fn a_poison_message_is_buried_and_others_flow(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.relay();
    bench.consume(Recorder { poison: Some(13), ..recorder() });

    bench.announce(13).await;
    bench.announce(14).await;

    bench.effects_become(&[14]).await;
    let dead = topology::dead_queue(bench.queue);
    let buried = eventually("the dead message", SOON, || async {
        bench.channel.basic_get(dead.as_str().into(), BasicGetOptions::default()).await.unwrap()
    })
    .await;
    assert!(buried.properties.headers().as_ref().unwrap().contains_key("x-death-reason"));
    buried.delivery.ack(BasicAckOptions::default()).await.unwrap();
    bench.end().await;
}

/// REL-02: while nobody relays, events wait; a later relay sends them all, in order of their ids.
#[sqlx::test(migrations = "./migrations")]
async fn events_wait_for_the_broker(pool: PgPool) {
    let bench = Bench::new(pool).await;
    let nowhere = Broker::from_url("amqp://guest:guest@127.0.0.1:1/saasodoo", "test");
    let lost = Relay::new(&bench.pool, &nowhere, &Metrics::new());
    let gave_up = CancellationToken::new();
    let running = tokio::spawn(lost.run(gave_up.clone()));
    for number in 1..=20 {
        bench.announce(number).await;
    }
    gave_up.cancel();
    running.await.unwrap().unwrap();

    bench.consume(recorder());
    bench.relay();

    bench.effects_become(&(1..=20).collect::<Vec<_>>()).await;
    bench.end().await;
}

/// REL-03: a consumer whose peer is away waits with the message in hand; no try is spent on it.
#[sqlx::test(migrations = "./migrations")]
async fn an_outage_of_a_peer_costs_a_message_no_try(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.relay();
    bench.consume(Recorder { fail_first: 2, fail_as: Failure::Away, ..recorder() });

    bench.announce(5).await;

    bench.effects_become(&[5]).await;
    assert!(bench.has_counted("away") && !bench.has_counted("retry"));
    bench.end().await;
}

/// REL-03: the same while its own database lets nobody in, whatever the handler says that failed.
#[sqlx::test(migrations = "./migrations")]
async fn an_outage_of_the_database_costs_a_message_no_try(pool: PgPool) {
    let bench = Bench::new(pool).await;
    let role = format!("consumer_{}", Uuid::now_v7().simple());
    let run = async |sql: String| {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&bench.pool).await.unwrap();
    };
    run(format!("CREATE ROLE {role} SUPERUSER NOLOGIN PASSWORD 'x'")).await;
    let options = (*bench.pool.connect_options()).clone().username(&role).password("x");
    let shut = PgPoolOptions::new().acquire_timeout(Duration::from_secs(1)).connect_lazy_with(options);
    bench.relay();
    let stop = CancellationToken::new();
    bench.consume_from(shut.clone(), recorder(), stop.clone());
    bench.announce(6).await;
    bench.counted("away").await;
    assert_eq!(bench.effects().await, [] as [i64; 0]);

    run(format!("ALTER ROLE {role} LOGIN")).await;

    bench.effects_become(&[6]).await;
    assert!(!bench.has_counted("retry"));
    stop.cancel();
    shut.close().await;
    run(format!("DROP ROLE {role}")).await;
    bench.end().await;
}

/// REL-03: what is still in hand at a stop is put back as it was, topic and all, and the next process does
/// it.
#[sqlx::test(migrations = "./migrations")]
async fn a_message_in_hand_at_the_stop_is_put_back(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.relay();
    let stop = CancellationToken::new();
    let away = Recorder { fail_first: usize::MAX, fail_as: Failure::Away, ..recorder() };
    bench.consume_from(bench.pool.clone(), away, stop.clone());
    bench.announce(9).await;
    bench.counted("away").await;

    stop.cancel();
    bench.consume(recorder());

    bench.effects_become(&[9]).await;
    bench.end().await;
}

/// REL-03: a queue that another release declared with other arguments is used as it is.
#[sqlx::test(migrations = "./migrations")]
async fn a_queue_of_a_former_release_is_used_as_it_is(pool: PgPool) {
    let bench = Bench::without_queue(pool).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(topology::DELIVERY_LIMIT + 1));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    bench.channel.queue_declare(bench.queue.into(), durable, arguments).await.unwrap();
    bench.consume(recorder());
    bench.relay();

    // Until the consumer has bound the queue, events have no way into it.
    eventually("an effect", SOON, || async {
        bench.announce(3).await;
        (!bench.effects().await.is_empty()).then_some(())
    })
    .await;

    bench.stop.cancel();
    bench.channel.queue_delete(bench.queue.into(), QueueDeleteOptions::default()).await.unwrap();
}

/// REL-03: dead messages go back to their queue when somebody asks for it, and have their effect then.
#[sqlx::test(migrations = "./migrations")]
async fn dead_messages_can_be_put_back(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.relay();
    let stop = CancellationToken::new();
    bench.consume_from(bench.pool.clone(), Recorder { poison: Some(13), ..recorder() }, stop.clone());
    bench.announce(13).await;
    bench.counted("dead").await;
    stop.cancel();
    bench.consume(recorder());

    let moved = eventually("a dead message", SOON, || async {
        let moved = redrive(&bench.broker, &bench.consumer()).await.unwrap();
        (moved > 0).then_some(moved)
    })
    .await;

    assert_eq!(moved, 1);
    bench.effects_become(&[13]).await;
    assert_eq!(redrive(&bench.broker, &bench.consumer()).await.unwrap(), 0);
    bench.end().await;
}

/// REL-02: an event that the broker can never take stops no other one, and is counted.
#[sqlx::test(migrations = "./migrations")]
async fn an_event_that_is_refused_for_ever_stops_no_other(pool: PgPool) {
    let bench = Bench::new(pool).await;
    bench.consume(recorder());
    // A routing key has 255 bytes at most.
    let mut tx = bench.pool.begin().await.unwrap();
    let long = "x".repeat(300);
    let bad = outbox::enqueue(&mut tx, &long, Uuid::now_v7(), &Fact { number: 0 }).await.unwrap();
    tx.commit().await.unwrap();
    bench.relay();

    bench.announce(1).await;
    bench.effects_become(&[1]).await;
    bench.announce(2).await;

    bench.effects_become(&[1, 2]).await;
    let (attempts, error): (i32, Option<String>) =
        sqlx::query_as("SELECT attempts, last_error FROM outbox WHERE id = $1 AND sent_at IS NULL")
            .bind(bad)
            .fetch_one(&bench.pool)
            .await
            .unwrap();
    assert!(attempts > 0 && error.is_some());
    bench.end().await;
}
