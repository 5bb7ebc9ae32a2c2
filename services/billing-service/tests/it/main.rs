//! billing-service against a real PostgreSQL, a real RabbitMQ, and a provider that misbehaves.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod books;
mod bus;
mod catalogue;
mod conformance;
mod crashes;
mod customers;
mod faults;
mod orders;
mod paynow;
mod refunds;
mod source;
mod world;
