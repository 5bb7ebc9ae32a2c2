//! The service behind its real gRPC server, on real PostgreSQL and Redis; the services that it asks are small
//! real gRPC servers.

#![expect(clippy::unwrap_used, reason = "helpers of a test panic as the test itself does")]

mod accounts;
mod admin;
mod closing;
mod faults;
mod logins;
mod mails;
mod passwords;
mod process;
mod profiles;
mod retention;
mod sessions;
mod world;
