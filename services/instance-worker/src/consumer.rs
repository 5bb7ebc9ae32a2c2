//! Messages as wake-ups: every one of them may be lost without harm (REL-04).

use contracts::events::topics;
use instance::store::{lease, monitoring};
use messaging::{Consumer, Failure, Handler, Message};
use sqlx::PgConnection;

use crate::operations::Wake;

/// An operation waits.
pub const OPERATIONS: Consumer =
    Consumer { queue: "instance-worker.operations", topics: &[topics::OPERATION_REQUESTED] };

/// A pool should be made, or has changed.
pub const POOLS: Consumer =
    Consumer { queue: "instance-worker.pools", topics: &[topics::POOL_REQUESTED, topics::POOL_CHANGED] };

/// Wakes the engine of this worker.
#[derive(Debug)]
pub struct OperationRequested(pub Wake);

impl Handler for OperationRequested {
    async fn handle(&self, _: &mut PgConnection, _: &Message) -> Result<(), Failure> {
        self.0.now();
        Ok(())
    }
}

/// Wakes the leader, whichever worker it is, and the operations that wait for room.
#[derive(Debug)]
pub struct PoolNews;

impl Handler for PoolNews {
    async fn handle(&self, connection: &mut PgConnection, message: &Message) -> Result<(), Failure> {
        if message.topic == topics::POOL_REQUESTED {
            monitoring::notify_pools(connection).await?;
        } else {
            lease::wake_waiting_for_pool(connection).await?;
        }
        Ok(())
    }
}
