//! billing-service against a real PostgreSQL, a real RabbitMQ, and a provider that misbehaves.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod audit;
mod books;
mod bus;
mod catalogue;
mod charges;
mod conformance;
mod crashes;
mod customers;
mod deaths;
mod debts;
mod delivery;
mod details;
mod erasure;
mod faults;
mod life;
mod mirror;
mod orders;
mod paper;
mod paynow;
mod pricing;
mod random;
mod refunds;
mod retention;
mod runs;
mod source;
mod unreadable;
mod world;
