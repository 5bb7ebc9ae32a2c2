//! Outbox → broker → inbox against a real PostgreSQL and a real RabbitMQ.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions, QueueDeleteOptions};
use lapin::{BasicProperties, Channel};
use messaging::topology::{self, EVENTS};
use messaging::{Broker, Consumer, Failure, Handler, Message, Relay, outbox};
use serde::{Deserialize, Serialize};
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
    poison: Option<i64>,
}

impl Handler for Recorder {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        let fact: Fact = message.payload()?;
        if self.poison == Some(fact.number) {
            return Err(Failure::Dead(anyhow!("poison")));
        }
        if self.tries.fetch_add(1, Ordering::SeqCst) < self.fail_first {
            return Err(Failure::Retry(anyhow!("not now")));
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
}

impl Bench {
    async fn new(pool: PgPool) -> Self {
        sqlx::query("CREATE TABLE effects (number bigint)").execute(&pool).await.unwrap();
        let broker = Broker::from_url(&environment::amqp_url(), "test");
        let channel = broker.connect().await.unwrap().create_channel().await.unwrap();
        let name = Uuid::now_v7().simple().to_string();
        // Names live as long as the process; a test makes one.
        let queue = Box::leak(format!("test.{name}").into_boxed_str());
        let topic = Box::leak(format!("test.{name}.v1").into_boxed_str());
        topology::declare_queue(&channel, queue, &[topic]).await.unwrap();
        Self { pool, broker, channel, queue, topic, stop: CancellationToken::new() }
    }

    fn relay(&self) {
        let relay = Relay::new(&self.pool, &self.broker, &Metrics::new());
        tokio::spawn(relay.run(self.stop.clone()));
    }

    fn consume(&self, recorder: Recorder) {
        let topics: &'static [&'static str] = Box::leak(vec![self.topic].into_boxed_slice());
        let consumer = Consumer { queue: self.queue, topics };
        tokio::spawn(consumer.run(
            self.broker.clone(),
            self.pool.clone(),
            recorder,
            Metrics::new(),
            self.stop.clone(),
        ));
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
    Recorder { tries: Arc::default(), fail_first: 0, poison: None }
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
    bench.consume(Recorder { tries: Arc::clone(&tries), fail_first: 1, poison: None });

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
