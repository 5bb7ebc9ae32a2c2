//! What all parts of this program share.

use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::addresses::Addresses;
use crate::config::Config;
use crate::events::Events;
use crate::faults::Faults;
use crate::names::Services;
use crate::pods::registry::Registry;
use crate::probes::Prober;
use crate::recipes::postgres::Postgres;

/// Shared parts.
pub struct Context {
    /// The command line.
    pub config: Config,
    /// The API.
    pub client: Client,
    /// Its address, for programs that are clients of it themselves.
    pub api_url: String,
    /// Addresses of pods.
    pub addresses: Addresses,
    /// Faults on request.
    pub faults: Faults,
    /// Events about pods.
    pub events: Events,
    /// The pods of this node.
    pub pods: Registry,
    /// Services of the cluster.
    pub services: Services,
    /// Asks HTTP probes.
    pub prober: Prober,
    /// Programs of PostgreSQL, when this machine has them.
    pub postgres: Option<Postgres>,
    /// Folder of pods.
    pub pods_dir: PathBuf,
    /// Set when this program ends: nothing is reported or started any more.
    pub stopping: CancellationToken,
    /// Folder of sockets, short.
    pub run_dir: PathBuf,
}

/// The shared parts, as they are handed around.
pub type Shared = Arc<Context>;

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Context").field("config", &self.config).finish_non_exhaustive()
    }
}
