//! What every part of the worker holds.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;

use crate::cluster::Cluster;
use crate::config::Addressing;
use crate::failpoint::FailPoint;
use crate::objects::Settings;
use crate::peers::Peers;

/// Shared by operations, watch, reconciler and gRPC. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Worker {
    /// Database `instance`.
    pub database: PgPool,
    /// The cluster.
    pub cluster: Cluster,
    /// Other services.
    pub peers: Peers,
    /// What objects look like.
    pub settings: Arc<Settings>,
    /// How pods are reached.
    pub addressing: Addressing,
    /// A ready pod must also answer over HTTP.
    pub http_check: bool,
    /// How long data is kept after a terminate.
    pub retention: Duration,
    /// Where a test lets the process die.
    pub fail: FailPoint,
}
