//! The life of a process: telemetry, signals, tracked tasks, shutdown.
//!
//! Shutdown order: readiness off → [`Process::stopping`] is cancelled → tasks drain with a deadline → spans
//! are flushed. A task that ends before that stops the process with a failing exit code (REL-08): Kubernetes
//! restarts better than we do.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Common;

/// Longest drain; the whole stop stays under 30 s (REL-16).
const DRAIN: Duration = Duration::from_secs(25);

/// One running service.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    tasks: TaskTracker,
    stop: CancellationToken,
    failed: Arc<AtomicBool>,
    metrics: Metrics,
    telemetry: telemetry::Guard,
    /// Time between readiness off and the stop of the servers, so that no new request arrives (GTW-17).
    grace: Duration,
}

impl Process {
    /// Sets up logs, traces and the metrics registry.
    pub fn try_new(name: &'static str, common: &Common) -> anyhow::Result<Self> {
        let telemetry = telemetry::init(&telemetry::Settings {
            service: name,
            level: common.effective_log_level(),
            otlp_endpoint: common.otlp_endpoint.clone(),
        })?;
        Ok(Self {
            name,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            failed: Arc::new(AtomicBool::new(false)),
            metrics: Metrics::new(),
            telemetry,
            grace: Duration::ZERO,
        })
    }

    /// Waits `grace` after readiness went off before anything stops.
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Name of the service.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The metrics registry.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Cancelled when the process stops. Every task watches it.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task for the life of the process. Its end before the stop, in whatever way, stops the process.
    pub fn spawn<F>(&self, task: &'static str, future: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = self.stop.clone();
        let failed = Arc::clone(&self.failed);
        // A second task joins the first, so that a panic is seen as an end like any other.
        let handle = tokio::spawn(future);
        self.tasks.spawn(async move {
            let outcome = handle.await;
            if stop.is_cancelled() {
                return;
            }
            match outcome {
                Ok(Ok(())) => tracing::error!(task, "task ended unexpectedly"),
                Ok(Err(error)) => tracing::error!(task, error = format!("{error:#}"), "task failed"),
                Err(error) => tracing::error!(task, error = %error, "task panicked"),
            }
            failed.store(true, Ordering::SeqCst);
            stop.cancel();
        });
    }

    /// Waits for SIGTERM, SIGINT or the end of a task, then stops all within the drain time. Fails when a
    /// task had failed.
    pub async fn run(self, health: &crate::admin::Health) -> anyhow::Result<()> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .context("cannot listen for SIGTERM")?;
        tracing::info!(service = self.name, "started");
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = tokio::signal::ctrl_c() => tracing::info!("SIGINT: stopping"),
            () = self.stop.cancelled() => {}
        }
        health.stop_serving();
        if !self.stop.is_cancelled() {
            tokio::time::sleep(self.grace).await;
        }
        self.stop.cancel();
        self.tasks.close();
        let drained = tokio::time::timeout(DRAIN.saturating_sub(self.grace), self.tasks.wait()).await.is_ok();
        if !drained {
            tracing::warn!("stopped before all work had ended");
        }
        let failed = self.failed.load(Ordering::SeqCst);
        tracing::info!(service = self.name, "stopped");
        self.telemetry.shutdown();
        if failed {
            anyhow::bail!("{} stopped because a task had ended", self.name);
        }
        Ok(())
    }
}
