//! The audit, and what admins do about its findings.

pub mod findings;
pub mod run;
