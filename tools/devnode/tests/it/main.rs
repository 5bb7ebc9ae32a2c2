//! The node on a real control plane. Each test has a node of its own, tainted so that only its own pods come
//! to it, and a scratch namespace; both go when it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod containers;
mod databases;
mod faults;
mod harness;
mod ingresses;
mod volumes;
