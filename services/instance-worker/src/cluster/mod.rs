//! The only door to the Kubernetes API: connection, one `apply`, one `delete`, typed errors, a rate limit.
//!
//! Must not decide anything: what is wanted comes from [`crate::objects`], when from the operations and the
//! reconciler.

mod access;
mod apply;
mod cache;
mod compare;
mod connect;
mod error;
mod events;
mod filled;
mod limit;
mod mend;
mod pods;

pub use access::{Cluster, Metrics};
pub(crate) use apply::wanted_json;
pub use apply::{Applied, Kind, LookAt, Owner, Seen, Standing};
pub use cache::{Cache, Store};
pub use compare::differences;
pub use connect::{Connection, Source, client};
pub use error::Error;
pub use events::{Note, notify};
pub use limit::Limiter;
pub use pods::{LogLine, Target, logs, probe, used_bytes};

/// Field manager of every write (K8S-15).
pub const FIELD_MANAGER: &str = "saasodoo-instance-worker";
