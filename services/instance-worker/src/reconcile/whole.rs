//! Rows and caches as wholes: after every list or gap of a watch, and each minute. What has not changed since
//! it was found as wanted is passed over.

use std::collections::HashSet;
use std::time::Duration;

use instance::store::observe::{self, Reconcilable};
use uuid::Uuid;

use super::fingerprint::fingerprint;
use super::instance::Reconciler;
use crate::watch::Status as WatchStatus;

/// Longest time between whole comparisons, whatever the setting says.
const AT_LEAST: Duration = Duration::from_mins(1);
/// Lists of several kinds come together: they are one comparison.
const SETTLE: Duration = Duration::from_millis(300);
const PAGE: i64 = 500;

impl Reconciler {
    /// Compares when the watches are connected, after each list, and at least each minute.
    pub(super) async fn whole(&self, status: &WatchStatus) {
        loop {
            while !status.all_connected() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            let began = std::time::Instant::now();
            match self.enqueue_all(false).await {
                Ok(count) => {
                    while !self.queue.is_empty() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    let took = began.elapsed().as_millis();
                    self.repairs.last_full_ms.set(i64::try_from(took).unwrap_or(i64::MAX));
                    tracing::info!(instances = count, took_ms = %took, "monitoring compared all instances");
                }
                Err(error) => tracing::warn!(error = %error, "cannot list the instances to compare"),
            }
            self.tell_troubles();
            tokio::select! {
                () = self.listed.woken() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(self.interval.min(AT_LEAST)) => {}
            }
        }
    }

    /// Queues every instance, or those that changed since they were found as wanted; how many there are.
    pub(super) async fn enqueue_all(&self, unchanged_too: bool) -> sqlx::Result<usize> {
        let cache = self.worker.cluster.cache();
        let mut after = Uuid::nil();
        let mut count = 0;
        loop {
            let page = self.page(after).await?;
            let Some(last) = page.last() else { break };
            after = last.id;
            count += page.len();
            let quiet = self.quiet();
            for row in &page {
                let before = quiet.get(&row.id);
                if unchanged_too || before.is_none() || before != fingerprint(cache, row).as_ref() {
                    self.queue.add(row.id);
                }
            }
        }
        let known = self.known().await?;
        self.quiet().retain(|id, _| known.contains(id));
        let orphans = super::compare::orphans(cache, &known);
        for orphan in &orphans {
            tracing::warn!(
                object = orphan.object,
                instance.id = orphan.instance_id,
                "an object of the platform belongs to no instance"
            );
        }
        self.repairs.orphans.set(i64::try_from(orphans.len()).unwrap_or(i64::MAX));
        Ok(count)
    }

    async fn page(&self, after: Uuid) -> sqlx::Result<Vec<Reconcilable>> {
        let mut connection = self.worker.database.acquire().await?;
        observe::reconcilable(&mut connection, after, PAGE).await
    }

    async fn known(&self) -> sqlx::Result<HashSet<Uuid>> {
        let mut connection = self.worker.database.acquire().await?;
        Ok(observe::known_instances(&mut connection).await?.into_iter().collect())
    }
}
