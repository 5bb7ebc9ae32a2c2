//! notification-service against a real PostgreSQL, a real RabbitMQ and an SMTP server of the test.
#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod admin;
mod bus;
mod keeping;
mod queue;
mod sink;
mod tls;
mod world;
