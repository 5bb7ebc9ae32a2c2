//! instance-service against a real PostgreSQL, with its real gRPC server and stand-ins for billing, accounts
//! and the worker.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like the tests themselves")]

mod actions;
mod admin;
mod clocks;
mod consents;
mod create;
mod deaths;
mod drains;
mod erase;
mod fakes;
mod http;
mod locks;
mod messages;
mod operations;
mod plans;
mod reactivate;
mod rows;
mod support;
mod tenancy;
mod told;
mod update;
mod wishes;
