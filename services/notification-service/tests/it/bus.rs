//! Events of the real broker become mails.

use std::time::Duration;

use contracts::events::{InstanceFact, topics};
use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use messaging::topology::{EVENTS, dead_queue, declare_exchanges};
use messaging::{Broker, Consumer};
use notification_service::consumer::{Mails, TOPICS};
use sqlx::PgPool;
use telemetry::metrics::Metrics;
use test_kit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::world::{SOON, World, running};

/// A consumer with a queue of its own on the shared broker, and a channel to publish with.
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
        let queue: &'static str = Box::leak(format!("test.mails.{}", Uuid::now_v7()).into_boxed_str());
        let stop = CancellationToken::new();
        let watcher = broker.clone();
        let consumer = Consumer { queue, topics: TOPICS };
        let mails = Mails { queue: world.queue.clone() };
        tokio::spawn(consumer.run(broker, world.pool.clone(), mails, Metrics::new(), stop.clone()));
        // The binding is there when the queue is.
        let probe = channel.clone();
        eventually("the queue", SOON, || async {
            // A question about a queue that is not there ends the channel, and at times its whole connection.
            let other = watcher.connect().await.ok()?.create_channel().await.ok()?;
            let options = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
            let found = other.queue_declare(queue.into(), options, lapin::types::FieldTable::default()).await;
            found.ok().filter(|found| found.consumer_count() > 0).map(drop)
        })
        .await;
        Self { channel: probe, queue, stop, _connection: connection }
    }

    async fn publish(&self, id: Uuid, topic: &str, body: &[u8]) {
        let properties = BasicProperties::default().with_message_id(id.to_string().into());
        self.channel
            .basic_publish(EVENTS.into(), topic.into(), BasicPublishOptions::default(), body, properties)
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

fn fact(customer_id: Uuid) -> InstanceFact {
    InstanceFact {
        instance_id: Uuid::now_v7(),
        customer_id,
        subscription_id: None,
        name: "Shop".into(),
        external_url: "http://shop.localhost".into(),
        admin_email: "admin@example.com".into(),
        plan: "basic-monthly".into(),
        operation_id: None,
        reason: None,
        purge_after: None,
        occurred_at: runtime::clock::now(),
    }
}

/// NTF-03, NTF-09, NTF-16: an event delivered five times is one mail.
#[sqlx::test(migrations = "./migrations")]
async fn an_event_delivered_five_times_is_one_mail(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    let bus = Bus::start(&world).await;
    let fact = fact(ada);
    let body = serde_json::to_vec(&fact).unwrap();
    let id = Uuid::now_v7();

    for _ in 0..5 {
        bus.publish(id, topics::INSTANCE_READY, &body).await;
    }
    bus.publish(Uuid::now_v7(), topics::INSTANCE_STOPPED, &body).await;

    world.reach("sent", 2).await;
    let mails = sink.mails();
    assert_eq!(mails.len(), 2);
    let ready = mails.iter().find(|mail| mail.data.contains("Subject: Shop is ready")).unwrap();
    assert!(ready.readable().contains(&format!("/reveal?instance={}", fact.instance_id)));
    assert_eq!(ready.header("List-Unsubscribe"), Some("<https://app.example.com/preferences>"));
    bus.end().await;
}

/// USR-19: what the customer switched off is not mailed; security is.
#[sqlx::test(migrations = "./migrations")]
async fn a_switched_off_kind_is_not_mailed(pool: PgPool) {
    let (world, sink) = running(&pool).await;
    let quiet = world.directory.add("quiet@example.com", false);
    let bus = Bus::start(&world).await;
    let body = serde_json::to_vec(&fact(quiet)).unwrap();
    let changed = contracts::events::CustomerFact {
        customer_id: quiet,
        occurred_at: runtime::clock::now(),
        detail: None,
    };

    bus.publish(Uuid::now_v7(), topics::INSTANCE_STARTED, &body).await;
    bus.publish(Uuid::now_v7(), topics::CUSTOMER_PASSWORD_CHANGED, &serde_json::to_vec(&changed).unwrap())
        .await;

    world.reach("cancelled", 1).await;
    world.reach("sent", 1).await;
    assert!(sink.mails()[0].readable().contains("password was changed"));
    bus.end().await;
}

/// REL-03: what cannot be read is dead, and the next one goes on.
#[sqlx::test(migrations = "./migrations")]
async fn an_unreadable_event_does_not_stop_the_others(pool: PgPool) {
    let (world, _sink) = running(&pool).await;
    let ada = world.directory.add("ada@example.com", true);
    let bus = Bus::start(&world).await;

    bus.publish(Uuid::now_v7(), topics::INSTANCE_READY, b"{\"nonsense\": true}").await;
    bus.publish(Uuid::now_v7(), topics::INSTANCE_READY, &serde_json::to_vec(&fact(ada)).unwrap()).await;

    world.reach("sent", 1).await;
    let dead = dead_queue(bus.queue);
    eventually("the dead message", Duration::from_secs(10), || async {
        let options = lapin::options::BasicGetOptions { no_ack: true };
        bus.channel.basic_get(dead.as_str().into(), options).await.unwrap()
    })
    .await;
    bus.end().await;
}

/// Waits until these mails went to a customer. The broker is shared, and brings facts of other tests too.
async fn has_sent(pool: &PgPool, customer: Uuid, wanted: &[&str]) {
    let mails = "SELECT template_name FROM emails WHERE customer_id = $1 AND status = 'sent' ORDER BY 1";
    eventually(&format!("{wanted:?}"), SOON, || async {
        let sent: Vec<String> = sqlx::query_scalar(mails).bind(customer).fetch_all(pool).await.ok()?;
        (sent == wanted).then_some(())
    })
    .await;
}

/// A fact that somebody was erased takes back what waits for them; the facts of one end and of one payment are
/// one mail, in whatever order they come.
#[sqlx::test(migrations = "./migrations")]
async fn facts_that_tell_the_same_are_one_mail(pool: PgPool) {
    let (world, _sink) = running(&pool).await;
    let bus = Bus::start(&world).await;
    let ada = world.directory.add("ada@example.com", true);
    let (subscription, invoice) = (Uuid::now_v7(), Uuid::now_v7());
    let at = time::OffsetDateTime::UNIX_EPOCH;
    let amount = |minor| Some(contracts::events::Amount { minor, currency: "USD".into() });
    let money = contracts::events::BillingFact {
        customer_id: ada,
        subscription_id: Some(subscription),
        instance_id: None,
        plan: "basic-monthly".into(),
        previous_plan: None,
        invoice_id: Some(invoice),
        invoice_number: Some("INV-000007".into()),
        amount: amount(900),
        balance: amount(0),
        due_at: None,
        ends_at: None,
        next_step_at: None,
        retained_until: None,
        days: None,
        reason: None,
        occurred_at: at,
    };
    let body = serde_json::to_vec(&money).unwrap();
    for topic in [topics::PAYMENT_RECEIVED, topics::INVOICE_PAID, topics::SERVICE_TERMINATED] {
        bus.publish(Uuid::now_v7(), topic, &body).await;
    }
    has_sent(&pool, ada, &["invoice_paid", "service_terminated"]).await;
    let ended = InstanceFact { subscription_id: Some(subscription), ..fact(ada) };
    bus.publish(Uuid::now_v7(), topics::INSTANCE_TERMINATED, &serde_json::to_vec(&ended).unwrap()).await;
    bus.publish(Uuid::now_v7(), topics::INSTANCE_READY, &serde_json::to_vec(&fact(ada)).unwrap()).await;
    has_sent(&pool, ada, &["instance_ready", "invoice_paid", "service_terminated"]).await;

    let erased = contracts::events::CustomerFact { customer_id: ada, occurred_at: at, detail: None };
    bus.publish(Uuid::now_v7(), topics::CUSTOMER_ERASED, &serde_json::to_vec(&erased).unwrap()).await;
    eventually("nothing names the person", SOON, || async {
        test_kit::search::rows_with(&pool, "ada@example.com").await.is_empty().then_some(())
    })
    .await;
    bus.end().await;
}
