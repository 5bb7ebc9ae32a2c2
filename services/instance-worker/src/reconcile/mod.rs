//! Repairs drift: compares wanted objects with the cluster, on watch events and on a timer, and applies the
//! difference (K8S-31). In a steady state it writes nothing. What belongs to nobody is reported, never
//! removed.

mod brake;
mod compare;
mod fingerprint;
mod instance;
mod parts;
mod pools;
mod repairs;
mod roll_out;
mod troubles;
mod wanted;
mod whole;

pub use compare::{Difference, compare};
pub use instance::Reconciler;
pub use pools::Pools;
pub use repairs::Repairs;
