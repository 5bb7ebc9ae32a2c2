//! Publishes outbox rows and marks them sent on the broker's confirm (REL-02).
//!
//! Every replica may run one: rows are claimed with `FOR UPDATE SKIP LOCKED`. Woken by NOTIFY, with a poll
//! behind it. It never gives up; while the broker is away the rows wait. A row that the broker does not take
//! (too large, no route) stops no other: from then on it is tried by itself, and after [`TRIES`] it is set
//! aside, counted and tried each few minutes only. Old rows of outbox and inbox are removed here too.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use anyhow::Context as _;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use runtime::retention::prune;
use sqlx::postgres::PgListener;
use sqlx::{FromRow, PgConnection, PgPool};
use telemetry::context::Headers;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::topology::{self, EVENTS};
use crate::{Broker, retention};

/// Rows published in one transaction.
const BATCH: i64 = 100;
/// Tries of one row that the broker does not take, then it is set aside and waits for a person.
const TRIES: i32 = 20;
/// Rows of a suspicious kind that are tried in one round.
const SUSPECTS: i64 = 20;
/// Between two rounds of what is seldom done: cleaning, and rows that are set aside.
const SELDOM: Duration = Duration::from_mins(5);
/// Poll behind NOTIFY.
const POLL: Duration = Duration::from_secs(1);
/// Longest wait for the confirms of one batch.
const CONFIRM: Duration = Duration::from_secs(10);

/// The relay of one service.
#[derive(Debug)]
pub struct Relay {
    pool: PgPool,
    broker: Broker,
    published: Counter,
    oldest_seconds: Gauge<i64, AtomicI64>,
    set_aside: Gauge<i64, AtomicI64>,
}

/// What became of a row that was given to the broker.
#[derive(Debug)]
enum Outcome {
    Sent,
    /// Why it was not taken.
    Refused(String),
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    topic: String,
    payload: serde_json::Value,
    headers: serde_json::Value,
    attempts: i32,
}

impl Relay {
    /// Registers `outbox_published`, `outbox_age_seconds` and `outbox_set_aside`.
    pub fn new(pool: &PgPool, broker: &Broker, metrics: &Metrics) -> Self {
        let this = Self {
            pool: pool.clone(),
            broker: broker.clone(),
            published: Counter::default(),
            oldest_seconds: Gauge::default(),
            set_aside: Gauge::default(),
        };
        metrics.register(|registry| {
            registry.register("outbox_published", "Events confirmed by the broker", this.published.clone());
            registry.register(
                "outbox_age_seconds",
                "Age of the oldest event that is not sent",
                this.oldest_seconds.clone(),
            );
            registry.register(
                "outbox_set_aside",
                "Events that the broker does not take; somebody must look at them",
                this.set_aside.clone(),
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
        let mut channel = open(&connection).await?;
        topology::declare_exchanges(&channel).await.context("cannot declare the exchanges")?;
        let mut listener =
            PgListener::connect_with(&self.pool).await.context("cannot listen for new events")?;
        listener.listen("outbox").await?;
        let mut seldom: Option<tokio::time::Instant> = None;
        loop {
            while self.publish_batch(&connection, &mut channel).await? == BATCH {}
            self.publish_suspects(&connection, &mut channel, 1..TRIES).await?;
            if seldom.is_none_or(|last| last.elapsed() > SELDOM) {
                self.publish_suspects(&connection, &mut channel, TRIES..i32::MAX).await?;
                // A failure is in the log, and the next round tries again.
                prune(&self.pool, &[retention::OUTBOX, retention::INBOX]).await.ok();
                seldom = Some(tokio::time::Instant::now());
            }
            self.measure().await?;
            // The time-out is the poll; a closed broker connection shows at the next publish.
            if let Ok(notified) = tokio::time::timeout(POLL, listener.recv()).await {
                notified.context("lost the listening connection")?;
            } else if !connection.status().connected() {
                anyhow::bail!("the broker closed the connection");
            }
        }
    }

    /// Publishes rows that were never refused, many at once; how many there were.
    async fn publish_batch(&self, connection: &Connection, channel: &mut Channel) -> anyhow::Result<i64> {
        let mut tx = self.pool.begin().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, topic, payload, headers, attempts FROM outbox
             WHERE sent_at IS NULL AND attempts = 0 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
        )
        .bind(BATCH)
        .fetch_all(&mut *tx)
        .await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let (outcomes, lost) = match publish_within(channel, &rows).await {
            Ok(outcomes) => (outcomes, None),
            // The broker went away, or it closed the channel over one of these rows. Which one shows when
            // each is tried by itself.
            Err(error) => {
                (rows.iter().map(|_| Outcome::Refused(format!("{error:#}"))).collect(), Some(error))
            }
        };
        self.record(&mut tx, &rows, &outcomes).await?;
        tx.commit().await?;
        if let Some(error) = lost {
            *channel = reopen(connection, channel, error).await?;
        }
        Ok(i64::try_from(rows.len()).unwrap_or(BATCH))
    }

    /// Tries rows that were refused before, each by itself, so that none is blamed for another.
    async fn publish_suspects(
        &self,
        connection: &Connection,
        channel: &mut Channel,
        attempts: Range<i32>,
    ) -> anyhow::Result<()> {
        let mut tx = self.pool.begin().await?;
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, topic, payload, headers, attempts FROM outbox
             WHERE sent_at IS NULL AND attempts >= $1 AND attempts < $2 ORDER BY attempts, id LIMIT $3
             FOR UPDATE SKIP LOCKED",
        )
        .bind(attempts.start)
        .bind(attempts.end)
        .bind(SUSPECTS)
        .fetch_all(&mut *tx)
        .await?;
        let (mut outcomes, mut lost) = (Vec::with_capacity(rows.len()), None);
        // The session says nothing meanwhile, and PostgreSQL ends one that is silent in a transaction for long.
        let begun = tokio::time::Instant::now();
        for row in &rows {
            if begun.elapsed() > CONFIRM {
                break;
            }
            match publish_within(channel, std::slice::from_ref(row)).await {
                Ok(outcome) => outcomes.extend(outcome),
                Err(error) => {
                    outcomes.push(Outcome::Refused(format!("{error:#}")));
                    lost = Some(error);
                    break;
                }
            }
        }
        self.record(&mut tx, &rows, &outcomes).await?;
        tx.commit().await?;
        if let Some(error) = lost {
            *channel = reopen(connection, channel, error).await?;
        }
        Ok(())
    }

    /// Writes down what became of the rows.
    async fn record(
        &self,
        connection: &mut PgConnection,
        rows: &[Row],
        outcomes: &[Outcome],
    ) -> anyhow::Result<()> {
        let mut sent = Vec::with_capacity(rows.len());
        for (row, outcome) in rows.iter().zip(outcomes) {
            match outcome {
                Outcome::Sent => sent.push(row.id),
                Outcome::Refused(why) => refused(connection, row, why).await?,
            }
        }
        sqlx::query("UPDATE outbox SET sent_at = now(), attempts = attempts + 1 WHERE id = ANY($1)")
            .bind(&sent)
            .execute(connection)
            .await?;
        self.published.inc_by(sent.len() as u64);
        Ok(())
    }

    async fn measure(&self) -> anyhow::Result<()> {
        let (age, aside): (Option<i64>, i64) = sqlx::query_as(
            "SELECT extract(epoch FROM now() - min(created_at))::bigint, count(*) FILTER (WHERE attempts >= $1)
             FROM outbox WHERE sent_at IS NULL",
        )
        .bind(TRIES)
        .fetch_one(&self.pool)
        .await?;
        self.oldest_seconds.set(age.unwrap_or(0));
        self.set_aside.set(aside);
        Ok(())
    }
}

async fn refused(connection: &mut PgConnection, row: &Row, why: &str) -> anyhow::Result<()> {
    if row.attempts + 1 == TRIES {
        tracing::error!(
            topic = row.topic,
            message.id = %row.id,
            why,
            "an event is set aside: the broker does not take it"
        );
    }
    sqlx::query("UPDATE outbox SET attempts = attempts + 1, last_error = $2 WHERE id = $1")
        .bind(row.id)
        .bind(why)
        .execute(connection)
        .await?;
    Ok(())
}

async fn open(connection: &Connection) -> anyhow::Result<Channel> {
    let channel = connection.create_channel().await.context("cannot open a channel")?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.context("no publisher confirms")?;
    Ok(channel)
}

/// A new channel after `error`, where only the channel was lost; otherwise the error ends the session.
async fn reopen(connection: &Connection, channel: &Channel, error: anyhow::Error) -> anyhow::Result<Channel> {
    if connection.status().connected() && !channel.status().connected() {
        return open(connection).await;
    }
    Err(error)
}

async fn publish_within(channel: &Channel, rows: &[Row]) -> anyhow::Result<Vec<Outcome>> {
    tokio::time::timeout(CONFIRM, publish(channel, rows))
        .await
        .context("the broker did not confirm in time")?
}

/// Publishes all rows, then waits for their confirms; what became of each, in the same order.
async fn publish(channel: &Channel, rows: &[Row]) -> anyhow::Result<Vec<Outcome>> {
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
            .with_headers(table);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        pending.push(match ShortString::try_new(row.topic.as_str()) {
            Ok(key) => {
                let properties = properties.with_type(key.clone());
                Some(channel.basic_publish(EVENTS.into(), key, options, &body, properties).await?)
            }
            // The protocol has 255 bytes for it.
            Err(_) => None,
        });
    }
    let mut outcomes = Vec::with_capacity(pending.len());
    for confirm in pending {
        let Some(confirm) = confirm else {
            outcomes.push(Outcome::Refused("the topic is too long".to_owned()));
            continue;
        };
        outcomes.push(match confirm.await? {
            Confirmation::Ack(None) => Outcome::Sent,
            Confirmation::Ack(Some(_)) => Outcome::Refused("no queue is bound to the topic".to_owned()),
            Confirmation::Nack(_) | Confirmation::NotRequested => {
                Outcome::Refused("the broker answered with a nack".to_owned())
            }
        });
    }
    Ok(outcomes)
}
