//! Publishes outbox rows and marks them sent on the broker's confirm (REL-02).
//!
//! Every replica may run one: rows are claimed with `FOR UPDATE SKIP LOCKED`. Woken by NOTIFY, with a poll behind it. It never gives up; while
//! the broker is away the rows wait. Old rows of outbox and inbox are removed here too.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::Context as _;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{BasicProperties, Channel, Confirmation};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use sqlx::postgres::PgListener;
use sqlx::{FromRow, PgPool};
use telemetry::context::Headers;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Broker;
use crate::topology::{self, EVENTS};

/// Rows published in one transaction.
const BATCH: i64 = 100;
/// Poll behind NOTIFY.
const POLL: Duration = Duration::from_secs(1);
/// Longest wait for the confirms of one batch.
const CONFIRM: Duration = Duration::from_secs(10);
/// How long sent rows and inbox rows are kept; a redelivery cannot come later.
const KEPT_DAYS: i32 = 7;

/// The relay of one service.
#[derive(Debug)]
pub struct Relay {
    pool: PgPool,
    broker: Broker,
    published: Counter,
    oldest_seconds: Gauge<i64, AtomicI64>,
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    topic: String,
    payload: serde_json::Value,
    headers: serde_json::Value,
}

impl Relay {
    /// Registers `outbox_published` and `outbox_age_seconds`.
    pub fn new(pool: &PgPool, broker: &Broker, metrics: &Metrics) -> Self {
        let this = Self {
            pool: pool.clone(),
            broker: broker.clone(),
            published: Counter::default(),
            oldest_seconds: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("outbox_published", "Events confirmed by the broker", this.published.clone());
            registry.register(
                "outbox_age_seconds",
                "Age of the oldest event that is not sent",
                this.oldest_seconds.clone(),
            );
        });
        this
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let this = Arc::new(self);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                outcome = this.session() => {
                    let Err(error) = outcome;
                    tracing::warn!(error = format!("{error:#}"), "outbox relay lost its connection, trying again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        }
    }

    /// One connection to the broker and one to the database, until either fails.
    async fn session(&self) -> anyhow::Result<std::convert::Infallible> {
        let connection = self.broker.connect().await?;
        let channel = connection.create_channel().await.context("cannot open a channel")?;
        topology::declare_exchanges(&channel).await.context("cannot declare the exchanges")?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.context("no publisher confirms")?;
        let mut listener =
            PgListener::connect_with(&self.pool).await.context("cannot listen for new events")?;
        listener.listen("outbox").await?;
        let mut cleaned = tokio::time::Instant::now();
        loop {
            while self.publish_batch(&channel).await? == usize::try_from(BATCH).unwrap_or(usize::MAX) {}
            self.measure().await?;
            if cleaned.elapsed() > Duration::from_mins(10) {
                self.clean().await?;
                cleaned = tokio::time::Instant::now();
            }
            // The time-out is the poll; a closed broker connection shows at the next publish.
            if let Ok(notified) = tokio::time::timeout(POLL, listener.recv()).await {
                notified.context("lost the listening connection")?;
            } else if !connection.status().connected() {
                anyhow::bail!("the broker closed the connection");
            }
        }
    }

    async fn publish_batch(&self, channel: &Channel) -> anyhow::Result<usize> {
        let mut tx = self.pool.begin().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, topic, payload, headers FROM outbox WHERE sent_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let confirmed = tokio::time::timeout(CONFIRM, publish(channel, &rows))
            .await
            .context("the broker did not confirm in time")??;
        sqlx::query("UPDATE outbox SET sent_at = now(), attempts = attempts + 1 WHERE id = ANY($1)")
            .bind(&confirmed)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.published.inc_by(confirmed.len() as u64);
        if confirmed.len() < rows.len() {
            anyhow::bail!("the broker refused {} events", rows.len() - confirmed.len());
        }
        Ok(rows.len())
    }

    async fn measure(&self) -> anyhow::Result<()> {
        let age: Option<i64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM now() - min(created_at))::bigint FROM outbox WHERE sent_at IS NULL",
        )
        .fetch_one(&self.pool)
        .await?;
        self.oldest_seconds.set(age.unwrap_or(0));
        Ok(())
    }

    async fn clean(&self) -> anyhow::Result<()> {
        sqlx::query("DELETE FROM outbox WHERE sent_at < now() - make_interval(days => $1)")
            .bind(KEPT_DAYS)
            .execute(&self.pool)
            .await?;
        sqlx::query("DELETE FROM inbox WHERE processed_at < now() - make_interval(days => $1)")
            .bind(KEPT_DAYS * 4)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// Publishes all rows, then waits for their confirms; the ids that the broker took responsibility for.
async fn publish(channel: &Channel, rows: &[Row]) -> anyhow::Result<Vec<Uuid>> {
    let mut pending = Vec::with_capacity(rows.len());
    for row in rows {
        let body = serde_json::to_vec(&row.payload)?;
        let headers: Headers = serde_json::from_value(row.headers.clone()).unwrap_or_default();
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
        }
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id(row.id.to_string().into())
            .with_type(row.topic.clone().into())
            .with_headers(table);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        pending.push((
            row,
            channel
                .basic_publish(EVENTS.into(), row.topic.clone().into(), options, &body, properties)
                .await?,
        ));
    }
    let mut confirmed = Vec::with_capacity(pending.len());
    for (row, confirm) in pending {
        match confirm.await? {
            Confirmation::Ack(None) => confirmed.push(row.id),
            Confirmation::Ack(Some(_)) => {
                tracing::error!(topic = row.topic, message.id = %row.id, "event had no route");
            }
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                tracing::warn!(topic = row.topic, message.id = %row.id, "the broker refused an event");
            }
        }
    }
    Ok(confirmed)
}
