//! Exchanges and queues, declared in one place. Declaring is idempotent; every part declares what it uses
//! when it connects.

use anyhow::Context as _;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, Connection, ExchangeKind};

/// Topic exchange of all events.
pub const EVENTS: &str = "saasodoo.events";
/// Exchange of messages that nobody could handle; its routing key is the queue they came from.
pub const DEAD: &str = "saasodoo.dead";
/// Keeps the last events, so that each one has a route: an event without a consumer yet is no error.
pub const AUDIT: &str = "saasodoo.audit";
/// Redeliveries after the first try, then a message is dead. Outages do not count (see
/// [`Failure::Away`](crate::Failure::Away)).
pub const DELIVERY_LIMIT: i64 = 10;

/// Name of the queue that holds the dead messages of `queue`.
pub fn dead_queue(queue: &str) -> String {
    format!("{queue}.dead")
}

/// The exchanges and the audit queue.
pub async fn declare_exchanges(channel: &Channel) -> lapin::Result<()> {
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(EVENTS.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    channel.exchange_declare(DEAD.into(), ExchangeKind::Direct, durable, FieldTable::default()).await?;
    let mut kept = FieldTable::default();
    kept.insert("x-max-length".into(), AMQPValue::LongInt(10_000));
    kept.insert("x-overflow".into(), text("drop-head"));
    channel.queue_declare(AUDIT.into(), durable_queue(), kept).await?;
    channel
        .queue_bind(
            AUDIT.into(),
            EVENTS.into(),
            "#".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

/// A channel on which the queue of a consumer exists and is bound.
///
/// The arguments of a queue cannot be changed while it exists, and a declaration with other ones is refused.
/// A queue of a former (or newer) release is used as it is then: other limits are better than no consumption.
pub async fn ready_queue(connection: &Connection, queue: &str, topics: &[&str]) -> anyhow::Result<Channel> {
    let channel = connection.create_channel().await.context("cannot open a channel")?;
    let Err(error) = declare_queue(&channel, queue, topics).await else { return Ok(channel) };
    if !is_other_arguments(&error) {
        return Err(error).context("cannot declare the queue");
    }
    tracing::warn!(queue, error = %error, "the queue has the arguments of another release and is used as it is");
    // The refusal has closed the channel.
    let channel = connection.create_channel().await.context("cannot open a channel")?;
    let there = QueueDeclareOptions { passive: true, ..Default::default() };
    channel.queue_declare(queue.into(), there, FieldTable::default()).await.context("no such queue")?;
    bind(&channel, queue, topics).await.context("cannot bind the queue")?;
    Ok(channel)
}

/// The broker's answer 406 PRECONDITION_FAILED.
fn is_other_arguments(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(error) if error.get_id() == 406)
}

/// A consumer's quorum queue, bound to its topics, and its dead queue.
pub async fn declare_queue(channel: &Channel, queue: &str, topics: &[&str]) -> lapin::Result<()> {
    declare_exchanges(channel).await?;
    let dead = dead_queue(queue);
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), text("quorum"));
    channel.queue_declare(dead.as_str().into(), durable_queue(), quorum.clone()).await?;
    channel
        .queue_bind(
            dead.as_str().into(),
            DEAD.into(),
            queue.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    quorum.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
    quorum.insert("x-dead-letter-exchange".into(), text(DEAD));
    quorum.insert("x-dead-letter-routing-key".into(), text(queue));
    channel.queue_declare(queue.into(), durable_queue(), quorum).await?;
    bind(channel, queue, topics).await
}

async fn bind(channel: &Channel, queue: &str, topics: &[&str]) -> lapin::Result<()> {
    for topic in topics {
        channel
            .queue_bind(
                queue.into(),
                EVENTS.into(),
                (*topic).into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    Ok(())
}

fn durable_queue() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..Default::default() }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}
