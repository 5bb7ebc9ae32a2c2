//! A consumer: quorum queue in, effect and inbox row in one transaction, acknowledgement after the commit
//! (REL-03).
//!
//! An outage is not the message's fault. While the database or a peer is away, a consumer keeps the few
//! messages that it has in hand, takes no more, and tries these again until they work; none of their tries is
//! spent. Only a message that fails while all it needs is there uses them up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Confirmation};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use sqlx::{PgConnection, PgPool};
use telemetry::context::Headers;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::topology::{self, DEAD, DELIVERY_LIMIT};
use crate::{Broker, Failure};

/// Messages in work at once. Each holds a connection to the database, and some of the pool (`DB_POOL_SIZE`,
/// 10) must stay for requests.
const PREFETCH: u16 = 6;
/// Header of dead messages: why.
pub(crate) const DEATH_REASON: &str = "x-death-reason";
/// Header of copies: the topic of the message.
const TOPIC: &str = "x-saasodoo-topic";
/// Headers that belong to the way of a message through the broker, and not to the message.
const BROKERS: [&str; 6] = [
    DEATH_REASON,
    "x-delivery-count",
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
];
/// Longest handling of one message.
const DEADLINE: Duration = Duration::from_secs(30);

/// First and longest pause of a consumer between two looks at whether what was away is back.
const AWAY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// After this time with something away the messages in hand are put back as new ones: the broker ends a
/// channel whose messages stay without an answer for 30 min, and that would count as a try.
const IN_HAND: Duration = Duration::from_mins(10);
/// First and longest pause before a message that failed is delivered again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));

/// A received event.
#[derive(Debug, Clone)]
pub struct Message {
    /// Id of the outbox row; the same on every delivery.
    pub id: Uuid,
    /// Topic, such as `instance.ready.v1`.
    pub topic: String,
    /// JSON payload.
    pub body: Vec<u8>,
}

impl Message {
    /// The payload as its type; a payload that does not parse is dead.
    pub fn payload<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("payload of {}", self.topic))
            .map_err(Failure::Dead)
    }
}

/// What a consumer does with a message.
pub trait Handler: Send + Sync + 'static {
    /// The effect, inside the transaction that also holds the inbox row. It is committed on `Ok` only. Must
    /// not publish or call out for anything that may not happen twice.
    fn handle(
        &self,
        connection: &mut PgConnection,
        message: &Message,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Which queue takes which topics.
#[derive(Debug, Clone)]
pub struct Consumer {
    /// Queue and inbox name, such as `notification-service.mails`.
    pub queue: &'static str,
    /// Topics that are bound to it.
    pub topics: &'static [&'static str],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    queue: &'static str,
    outcome: &'static str,
}

/// Everything one delivery needs.
struct Worker<H> {
    consumer: Consumer,
    pool: PgPool,
    handler: H,
    messages: Family<Labels, Counter>,
    stop: CancellationToken,
}

impl Consumer {
    /// Consumes until `stop`; reconnects for ever. Deliveries in work at the stop are finished.
    pub async fn run<H: Handler>(
        self,
        broker: Broker,
        pool: PgPool,
        handler: H,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let messages = Family::<Labels, Counter>::default();
        metrics.register(|registry| {
            registry.sub_registry_with_label(("consumer".into(), self.queue.into())).register(
                "messages_consumed",
                "Messages by outcome: done, duplicate, away, retry, dead",
                messages.clone(),
            );
        });
        let worker = Arc::new(Worker { consumer: self, pool, handler, messages, stop: stop.clone() });
        while !stop.is_cancelled() {
            if let Err(error) = session(&worker, &broker, &stop).await {
                tracing::warn!(
                    queue = worker.consumer.queue,
                    error = format!("{error:#}"),
                    "consumer lost its connection, trying again"
                );
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        }
        Ok(())
    }
}

/// One connection, until it fails or the process stops.
async fn session<H: Handler>(
    worker: &Arc<Worker<H>>,
    broker: &Broker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let connection = broker.connect().await?;
    let channel = topology::ready_queue(&connection, worker.consumer.queue, worker.consumer.topics).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let deliveries = channel
        .basic_consume(
            worker.consumer.queue.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .context("cannot consume")?;
    tracing::info!(queue = worker.consumer.queue, "consuming");
    let work = deliveries
        .take_until(stop.cancelled())
        .map(|delivery| {
            let (worker, channel) = (Arc::clone(worker), channel.clone());
            async move { worker.settle(&channel, delivery?).await }
        })
        .buffer_unordered(usize::from(PREFETCH));
    let mut work = std::pin::pin!(work);
    while let Some(settled) = work.next().await {
        settled?;
    }
    if stop.is_cancelled() {
        return Ok(());
    }
    anyhow::bail!("the broker ended the delivery")
}

impl<H: Handler> Worker<H> {
    /// Handles one delivery and tells the broker. An error here is a broken connection.
    async fn settle(&self, channel: &Channel, delivery: Delivery) -> anyhow::Result<()> {
        let outcome = match parse(&delivery) {
            Ok((message, cause)) => {
                let span = tracing::info_span!("consume", queue = self.consumer.queue, topic = message.topic,
                    message.id = %message.id, trace.id = tracing::field::Empty, cause.trace.id = tracing::field::Empty);
                telemetry::context::link_to(&span, &cause);
                self.persist(&message).instrument(span).await
            }
            Err(error) => Err(Failure::Dead(error)),
        };
        match outcome {
            Ok(word) => {
                self.count(word);
                delivery.ack(BasicAckOptions::default()).await?;
            }
            Err(Failure::Away(_)) => {
                // A copy with the same id in its place: the inbox sees to it that both together have one
                // effect.
                publish_copy(channel, ("", self.consumer.queue), &delivery, FieldTable::default()).await?;
                delivery.ack(BasicAckOptions::default()).await?;
            }
            Err(Failure::Retry(error)) if tries(&delivery) < DELIVERY_LIMIT => {
                self.count("retry");
                tracing::warn!(
                    queue = self.consumer.queue,
                    error = format!("{error:#}"),
                    "message is tried again"
                );
                self.pause(growing(AGAIN, tries(&delivery))).await;
                delivery.nack(BasicNackOptions { requeue: true, ..Default::default() }).await?;
            }
            Err(Failure::Retry(error) | Failure::Dead(error)) => {
                self.count("dead");
                tracing::error!(queue = self.consumer.queue, error = format!("{error:#}"), "message is dead");
                self.bury(channel, &delivery, &error).await?;
                delivery.ack(BasicAckOptions::default()).await?;
            }
        }
        Ok(())
    }

    /// Tries a message until what it needs is there. Gives it out of the hand, as [`Failure::Away`], at the
    /// stop or after [`IN_HAND`].
    async fn persist(&self, message: &Message) -> Result<&'static str, Failure> {
        let began = tokio::time::Instant::now();
        let mut round = 0;
        loop {
            let error = match self.process(message).await {
                Err(Failure::Away(error)) => error,
                Err(Failure::Retry(error)) if self.database_is_away().await => error,
                outcome => return outcome,
            };
            self.count("away");
            tracing::warn!(
                queue = self.consumer.queue,
                error = format!("{error:#}"),
                "consumer waits for what is away"
            );
            self.pause(growing(AWAY, round)).await;
            if self.stop.is_cancelled() || began.elapsed() > IN_HAND {
                return Err(Failure::Away(error));
            }
            round += 1;
        }
    }

    /// A failure while the database does not answer says nothing about the message.
    async fn database_is_away(&self) -> bool {
        runtime::database::ping(&self.pool).await.is_err()
    }

    /// Waits, but not beyond the stop.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    async fn process(&self, message: &Message) -> Result<&'static str, Failure> {
        let work = async {
            let mut tx = self.pool.begin().await?;
            let first = sqlx::query(
                "INSERT INTO inbox (consumer, message_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            )
            .bind(self.consumer.queue)
            .bind(message.id)
            .execute(&mut *tx)
            .await?
            .rows_affected()
                == 1;
            if !first {
                return Ok("duplicate");
            }
            self.handler.handle(&mut tx, message).await?;
            tx.commit().await?;
            Ok("done")
        };
        tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| {
            Err(Failure::Retry(anyhow::anyhow!("not handled within {} s", DEADLINE.as_secs())))
        })
    }

    /// Puts a message that will never work into the dead queue, with the reason in a header.
    async fn bury(
        &self,
        channel: &Channel,
        delivery: &Delivery,
        error: &anyhow::Error,
    ) -> anyhow::Result<()> {
        let mut reason = FieldTable::default();
        reason.insert(DEATH_REASON.into(), AMQPValue::LongString(format!("{error:#}").into()));
        publish_copy(channel, (DEAD, self.consumer.queue), delivery, reason).await
    }

    fn count(&self, outcome: &'static str) {
        self.messages.get_or_create(&Labels { queue: self.consumer.queue, outcome }).inc();
    }
}

fn parse(delivery: &Delivery) -> anyhow::Result<(Message, Headers)> {
    let id = delivery.properties.message_id().as_ref().context("message without an id")?;
    let id = Uuid::parse_str(id.as_str()).context("message id is no UUID")?;
    let mut cause = Headers::new();
    for (name, value) in delivery.properties.headers().iter().flat_map(FieldTable::inner) {
        if let AMQPValue::LongString(text) = value {
            cause.insert(name.to_string(), text.to_string());
        }
    }
    Ok((Message { id, topic: topic(delivery), body: delivery.data.clone() }, cause))
}

/// Publishes the same message, id and all, to `(exchange, key)`; it is there when this returns. The broker's
/// own counts of tries start anew.
pub(crate) async fn publish_copy(
    channel: &Channel,
    (exchange, key): (&str, &str),
    delivery: &Delivery,
    more: FieldTable,
) -> anyhow::Result<()> {
    let mut headers = FieldTable::default();
    let kept = delivery.properties.headers().iter().flat_map(FieldTable::inner);
    // The topic is not part of the message for the default exchange, so it travels along.
    let topic = (TOPIC.into(), AMQPValue::LongString(topic(delivery).into()));
    for (name, value) in kept.map(|(name, value)| (name.clone(), value.clone())).chain([topic]) {
        if !BROKERS.contains(&name.as_str()) {
            headers.insert(name, value);
        }
    }
    for (name, value) in more.inner() {
        headers.insert(name.clone(), value.clone());
    }
    let properties = delivery.properties.clone().with_headers(headers);
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let confirm = channel
        .basic_publish(exchange.into(), key.into(), options, &delivery.data, properties)
        .await?
        .await?;
    anyhow::ensure!(matches!(confirm, Confirmation::Ack(None)), "no queue took the copy of a message");
    Ok(())
}

/// The topic of a message, also of one that came back by way of a queue's name.
fn topic(delivery: &Delivery) -> String {
    delivery
        .properties
        .headers()
        .as_ref()
        .and_then(|headers| match headers.inner().get(TOPIC) {
            Some(AMQPValue::LongString(topic)) => Some(topic.to_string()),
            _ => None,
        })
        // The relay notes the topic as the type, too: when the broker itself puts a message aside, the routing key
        // is that of a queue.
        .or_else(|| delivery.properties.kind().as_ref().map(ToString::to_string))
        .unwrap_or_else(|| delivery.routing_key.to_string())
}

/// Deliveries before this one that failed, as the quorum queue counts them.
fn tries(delivery: &Delivery) -> i64 {
    let headers = delivery.properties.headers().as_ref();
    match headers.and_then(|headers| headers.inner().get("x-delivery-count")) {
        Some(AMQPValue::LongLongInt(count)) => *count,
        Some(AMQPValue::LongInt(count)) => i64::from(*count),
        Some(AMQPValue::ShortShortUInt(count)) => i64::from(*count),
        _ => 0,
    }
}

/// Doubles from the first to the longest.
fn growing((first, longest): (Duration, Duration), times: i64) -> Duration {
    let factor = 1_u32 << u32::try_from(times.clamp(0, 16)).unwrap_or(16);
    first.saturating_mul(factor).min(longest)
}
