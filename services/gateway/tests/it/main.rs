//! The gateway as clients see it: the real router and server, real Redis, services of the test behind real
//! gRPC.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends by panicking")]

mod access;
mod databases;
mod documents;
mod edge;
mod fake;
mod flood;
mod health;
mod inputs;
mod instances;
mod limits;
mod operators;
mod orders;
mod paying;
mod pricing;
mod problems;
mod stream;
mod users;
mod webhooks;
mod world;
