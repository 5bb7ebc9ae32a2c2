//! Wanted objects as pure functions of domain values (K8S-15): one file a kind, no API calls, no clock, no
//! randomness.
//!
//! Labels, annotations and names stand in [`meta`] and [`names`] alone. Quantities are written in the API
//! server's canonical form, so that a wanted object compares equal to the one that the cluster gives back.

pub mod catalogue;
pub mod copy_job;
pub mod deployment;
pub mod ingress;
pub mod meta;
pub mod names;
pub mod network_policy;
pub mod off;
pub mod pool;
pub mod quantity;
pub mod secret;
pub mod service;
pub mod settings;
pub mod tenant;
pub mod volume;

pub use names::{InvalidName, Name};
pub use off::Off;
pub use settings::Settings;
pub use tenant::{DatabaseAccess, Route, Tenant, Wish};
