//! The worker against a real API server with its node, a real PostgreSQL and doubles of the other services.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

mod account;
mod cluster;
mod doubles;
mod drift;
mod fights;
mod leading;
mod lifecycle;
mod mock_api;
mod moves;
mod network;
mod off_page;
mod outage;
mod outages;
mod pool_crashes;
mod questions;
mod queue;
mod rights;
mod seen;
mod stack;
mod trouble;
mod volumes;
mod whole;
