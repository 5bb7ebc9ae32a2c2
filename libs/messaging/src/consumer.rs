//! A consumer: quorum queue in, effect and inbox row in one transaction, acknowledgement after the commit (REL-03).

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

use crate::Broker;
use crate::topology::{self, DEAD};

/// Messages in work at once. Each holds a connection to the database, and some of the pool (`DB_POOL_SIZE`, 10) must stay for requests.
const PREFETCH: u16 = 6;
/// Longest handling of one message.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a message was not handled, and what shall happen to it.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something is away now: delivered again after a short delay, at most [`topology::DELIVERY_LIMIT`] times.
    #[error("retry: {0:#}")]
    Retry(#[source] anyhow::Error),
    /// It will never work: straight to the dead queue.
    #[error("dead: {0:#}")]
    Dead(#[source] anyhow::Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Retry(error.into())
    }
}

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
    /// The effect, inside the transaction that also holds the inbox row. It is committed on `Ok` only. Must not publish or call out for
    /// anything that may not happen twice.
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
                "Messages by outcome: done, duplicate, retry, dead",
                messages.clone(),
            );
        });
        let worker = Arc::new(Worker { consumer: self, pool, handler, messages });
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
    let channel = connection.create_channel().await.context("cannot open a channel")?;
    topology::declare_queue(&channel, worker.consumer.queue, worker.consumer.topics)
        .await
        .context("cannot declare the queue")?;
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
                self.process(&message).instrument(span).await
            }
            Err(error) => Err(Failure::Dead(error)),
        };
        match outcome {
            Ok(word) => {
                self.count(word);
                delivery.ack(BasicAckOptions::default()).await?;
            }
            Err(Failure::Retry(error)) => {
                self.count("retry");
                tracing::warn!(
                    queue = self.consumer.queue,
                    error = format!("{error:#}"),
                    "message is tried again"
                );
                // Without a pause the delivery limit would be used up within milliseconds.
                tokio::time::sleep(Duration::from_secs(2)).await;
                delivery.nack(BasicNackOptions { requeue: true, ..Default::default() }).await?;
            }
            Err(Failure::Dead(error)) => {
                self.count("dead");
                tracing::error!(queue = self.consumer.queue, error = format!("{error:#}"), "message is dead");
                self.bury(channel, &delivery, &error).await?;
                delivery.ack(BasicAckOptions::default()).await?;
            }
        }
        Ok(())
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
        let mut headers = delivery.properties.headers().clone().unwrap_or_default();
        headers.insert("x-death-reason".into(), AMQPValue::LongString(format!("{error:#}").into()));
        let properties = delivery.properties.clone().with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirm = channel
            .basic_publish(DEAD.into(), self.consumer.queue.into(), options, &delivery.data, properties)
            .await?
            .await?;
        anyhow::ensure!(matches!(confirm, Confirmation::Ack(None)), "the dead queue did not take a message");
        Ok(())
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
    Ok((Message { id, topic: delivery.routing_key.to_string(), body: delivery.data.clone() }, cause))
}
