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
mod kind;
mod limit;
mod mend;
mod pods;

pub use access::{Cluster, FIELD_MANAGER, Metrics};
pub(crate) use apply::wanted_json;
pub use apply::{Applied, LookAt, Owner, Seen, Standing};
pub use cache::{Cache, Store};
pub use compare::differences;
pub use connect::{Connection, Source, client};
pub use error::Error;
pub use events::{Note, notify};
pub use kind::Kind;
pub use limit::Limiter;
pub use pods::{Addressing, LogLine, Target, logs, probe, used_bytes};
