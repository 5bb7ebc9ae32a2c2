//! What runs and their ends share: the parts, a hold on an operation, how a run ends.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::pauses::Pauses;
use crate::worker::Worker;

/// Begins the detail of a step whose undo failed for good.
pub(super) const NOT_REMOVED: &str = "failed to undo";

/// What a worker knows of an operation that it holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold {
    /// The lease belongs to somebody else by now: stop at once.
    pub(super) lost: CancellationToken,
    /// The customer wants it to end.
    pub(super) cancel: Arc<AtomicBool>,
    /// The process stops: hand over at the next border.
    pub(super) hand_over: CancellationToken,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// In a final state.
    Finished(&'static str),
    /// Parked or waiting for another try.
    Parked,
    /// Another worker has it, or it was pre-empted.
    Lost,
    /// Given up on the way to the stop of the process.
    HandedOver,
}

/// What all runs share.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    pub(super) worker: Worker,
    pub(super) metrics: Metrics,
    pub(super) pauses: Pauses,
}
