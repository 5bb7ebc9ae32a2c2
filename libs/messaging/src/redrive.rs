//! Puts dead messages back into their queue, when the cause of their death is gone. The inbox sees to it that
//! none has its effect twice.

use anyhow::Context as _;
use clap::Args;
use lapin::options::{BasicAckOptions, BasicGetOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use runtime::config::{Common, Rabbit};

use crate::consumer::publish_copy;
use crate::topology::{dead_queue, ready_queue};
use crate::{Broker, Consumer};

/// Settings of `redrive`.
#[derive(Debug, Clone, Args)]
pub struct Redrive {
    /// Settings of every service.
    #[command(flatten)]
    pub common: Common,
    /// The message broker.
    #[command(flatten)]
    pub rabbit: Rabbit,
}

impl Redrive {
    /// The whole command of `service` for all of its queues.
    pub async fn run(self, service: &'static str, consumers: &[Consumer]) -> anyhow::Result<()> {
        let _telemetry = telemetry::init(&telemetry::Settings {
            service,
            level: self.common.effective_log_level(),
            otlp_endpoint: None,
        })?;
        let broker = Broker::new(&self.rabbit, service);
        for consumer in consumers {
            let messages = redrive(&broker, consumer).await?;
            tracing::info!(queue = consumer.queue, messages, "dead messages were put back");
        }
        Ok(())
    }
}

/// Puts the messages that are dead now back into the queue of `consumer`; how many.
pub async fn redrive(broker: &Broker, consumer: &Consumer) -> anyhow::Result<u32> {
    let connection = broker.connect().await?;
    let channel = ready_queue(&connection, consumer.queue, consumer.topics).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.context("no publisher confirms")?;
    let dead = dead_queue(consumer.queue);
    let mut moved = 0;
    // A message that dies again meanwhile must not be taken for a new one: those behind the first answer's
    // count wait for the next call.
    let mut left = 1;
    while left > 0 {
        let Some(message) = channel.basic_get(dead.as_str().into(), BasicGetOptions::default()).await? else {
            break;
        };
        if moved == 0 {
            left = message.message_count + 1;
        }
        publish_copy(&channel, ("", consumer.queue), &message.delivery, FieldTable::default()).await?;
        message.delivery.ack(BasicAckOptions::default()).await?;
        (moved, left) = (moved + 1, left - 1);
    }
    Ok(moved)
}
