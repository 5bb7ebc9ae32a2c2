//! Wakes the worker of the webhook inbox and of the provider's commands before its next round.

use std::sync::Arc;

use tokio::sync::Notify;

/// Tells the worker of this process that a row waits for it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Wakeup(Arc<Notify>);

impl Wakeup {
    /// There is something.
    pub fn notify(&self) {
        self.0.notify_one();
    }

    /// Ends when there is something.
    pub async fn notified(&self) {
        self.0.notified().await;
    }
}
